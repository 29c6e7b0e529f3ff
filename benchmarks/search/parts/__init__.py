"""The parts of `python -m benchmarks.search`. Each has `run(scale, console) -> Report`."""
