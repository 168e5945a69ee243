"""Discover: which proxies this host has, and which VIP is whose."""
