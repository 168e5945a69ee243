"""Discover: which Consul servers there are, and which of them answer."""
