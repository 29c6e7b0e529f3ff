"""gRPC services, routing between nodes, and the life of the collections on this node."""
