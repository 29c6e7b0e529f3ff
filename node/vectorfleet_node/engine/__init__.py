"""Search engines behind one port: numpy in, numpy out."""
