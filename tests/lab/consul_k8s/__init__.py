"""Pods as consul-k8s makes them."""
