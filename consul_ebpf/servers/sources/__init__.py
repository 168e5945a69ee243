"""Where the list of Consul servers comes from."""
