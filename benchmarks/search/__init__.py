"""Search beside other engines on the same machine: same rows, same queries, equal recall. Run by hand."""
