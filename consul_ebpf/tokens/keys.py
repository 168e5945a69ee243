"""Whose a token is. Pure."""

from consul_ebpf.model.values import Proxy

HOST = ""
"""The key of `[consul.credentials]`: the controller's token, and that of all proxies
that have none of their own."""


def key_of(proxy: Proxy) -> str:
    """Return the key of a proxy's token."""
    return proxy.key if proxy.credentials is not None else HOST


def named(key: str) -> str:
    """Say whose, for a message."""
    return f"proxy {key}" if key else "consul.credentials"
