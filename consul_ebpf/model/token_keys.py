"""Whose an ACL token is: one proxy's own, or the whole host's. Pure."""

from consul_ebpf.model.answers import Answers, Missing
from consul_ebpf.model.values import Proxy

HOST = ""
"""The key of `[consul.credentials]`: the controller's token, and that of all proxies
that have none of their own."""

Tokens = Answers[str, str]
"""Secrets by key: a proxy's own key, or `HOST`, which is absent where the servers ask
for no token."""

NOT_YET = Missing("Consul is being asked for it", quiet=True)
"""What stands for a token, or for anything of Consul's, before there is an answer."""


def key_of(proxy: Proxy) -> str:
    """Return the key of a proxy's token."""
    return proxy.key if proxy.credentials is not None else HOST


def token_of(proxy: Proxy, tokens: Tokens | None) -> str | Missing:
    """Return the secret of a proxy's token; empty: it needs none."""
    key = key_of(proxy)
    if tokens is None or (key == HOST and HOST not in tokens):
        return ""
    return tokens.get(key, NOT_YET)


def named(key: str) -> str:
    """Say whose token it is, for a message."""
    return f"proxy {key}" if key else "consul.credentials"
