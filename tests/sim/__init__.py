"""The deterministic simulation of a shard's replicas: `python -m tests.sim --help`."""
