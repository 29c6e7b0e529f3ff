"""The edges: the Kubernetes API and the nodes."""
