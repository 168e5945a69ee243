"""Where the list of this host's proxies comes from."""
