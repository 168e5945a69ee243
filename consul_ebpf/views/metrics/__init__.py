"""Prometheus metrics: `names` says which there are, `values` what they are."""
