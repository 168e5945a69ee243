"""What can be sent beside a request."""

from consul_ebpf.model.errors import ConsulError


def as_header(secret: str) -> str:
    """Return an ACL token as it may be sent in a header.

    Raises:
        ConsulError: it holds what no header can, such as a line end; not repeated.
    """
    if not (secret.isascii() and secret.isprintable()):
        raise ConsulError(
            "the ACL token holds a character that no token has: see consul.credentials"
        )
    return secret
