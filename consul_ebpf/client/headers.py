"""An ACL token as a header of a request."""

from consul_ebpf.model.errors import ConsulError


def as_header(secret: str) -> str:
    """Return an ACL token if it can be sent in a header.

    Raises:
        ConsulError: it holds a character that no header can, such as a line end. The
            token is not repeated.
    """
    if not (secret.isascii() and secret.isprintable()):
        raise ConsulError(
            "the ACL token holds a character that no token has: see consul.credentials"
        )
    return secret
