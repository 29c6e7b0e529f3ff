"""The storage engine's figures, each as a ratio to a raw figure of the same machine in the same minute. Run by hand."""
