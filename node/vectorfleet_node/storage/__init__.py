"""Objects, the log protocol and the file formats in the object store."""
