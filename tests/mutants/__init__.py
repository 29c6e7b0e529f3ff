"""Ways to break the storage protocol on purpose, each with the test that must notice. `make mutants` runs them."""
