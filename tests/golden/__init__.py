"""Recall on real data: `make golden`."""
