"""devcluster: a real multi-node Kubernetes on one Debian machine, without Docker.

`python -m devcluster`, `make demo` and the end-to-end tests use it; `devcluster.cluster.Cluster` is its interface.
"""
