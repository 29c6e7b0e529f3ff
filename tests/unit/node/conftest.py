"""Its place makes the helpers beside it (`faults`) importable by every test of the node."""
