"""What tokens' and certificates' files hold: made once for all who share it. Pure."""

import functools

from consul_ebpf.envoy.json_text import indented
from consul_ebpf.envoy.tls import tls_ca_secret, tls_cert_secret
from consul_ebpf.envoy.token import token_secret

KEPT = 4
"""The newest contents of each kind that are kept."""


@functools.lru_cache(maxsize=KEPT)
def token_content(token: str) -> bytes:
    """Return what the file of an ACL token holds."""
    return indented(token_secret(token))


@functools.lru_cache(maxsize=KEPT)
def ca_content(ca: str) -> bytes:
    """Return what the file of CA certificates holds, for a PEM text."""
    return indented(tls_ca_secret(ca))


@functools.lru_cache(maxsize=KEPT)
def cert_content(certificate: str, key: str) -> bytes:
    """Return what the file of a client certificate holds, for two PEM texts."""
    return indented(tls_cert_secret(certificate, key))
