"""Random operation sequences against a brute-force oracle: `make property`, `python -m tests.property --seed N`."""
