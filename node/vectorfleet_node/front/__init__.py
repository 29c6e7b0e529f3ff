"""Front processes: they end gRPC for the public port, and pass calls to the node's process over a socket."""
