"""Filters, search and merging over the views of shards."""
