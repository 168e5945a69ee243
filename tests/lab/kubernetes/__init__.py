"""A real Kubernetes cluster of one node, without a registry or a network."""
