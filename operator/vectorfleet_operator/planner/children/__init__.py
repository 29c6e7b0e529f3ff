"""Builders of what a fleet is made of on Kubernetes: pure functions from the spec to whole manifests."""
