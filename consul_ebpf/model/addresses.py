"""`address:port` as people write it."""

import re
from ipaddress import IPv6Address, ip_address


def parse_endpoint(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Read `10.0.0.1:8502`, `[fd00::1]:8502` or, with a default port, a bare address.

    Returns the address as Python writes it, and the port.

    Raises:
        ValueError: it is not one; the message says why, without repeating `text`.
    """
    found = re.fullmatch(
        r"\[(?P<six>[^\]]*)\](:(?P<p6>.*))?|(?P<any>.*)", text, re.DOTALL
    )
    host, port = text, None
    if found and found["six"] is not None:
        host, port = found["six"], found["p6"]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError("not an IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("an address with a zone does not work here")
    if port is None:
        if default_port is None:
            raise ValueError("the port is missing")
        return str(address), default_port
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("the port must be 1 to 65535")
    return str(address), int(port)
