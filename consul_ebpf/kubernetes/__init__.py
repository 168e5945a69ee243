"""Serves the pods of a Kubernetes node: volumes for their Envoys, and the webhook."""
