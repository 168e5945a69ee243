"""Consul's service mesh without a consul-dataplane beside every Envoy."""
