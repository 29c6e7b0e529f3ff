"""One shard on one node: its state, its log, its segments."""
