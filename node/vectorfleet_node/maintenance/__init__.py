"""Looks after a collection's objects from outside of any node: the log in words, checks, repair. The CLI calls it."""
