"""Who is at the other end of the endpoint's connections."""

import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from consul_ebpf.base.accounts import uid_of
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import shown


def writers(users: Iterable[str]) -> frozenset[int]:
    """Return the uids that may register proxies: root, our own, and `api.users`.

    Raises:
        ConfigError: a user is not on this host.
    """
    found = {0, os.geteuid()}
    for user in users:
        try:
            found.add(uid_of(user))
        except ValueError as error:
            raise ConfigError(
                f"api.users: {shown(user)} {error}: create it, or name another"
            ) from None
    return frozenset(found)


def peer_uid(connection: socket.socket | None) -> int | None:
    """Return the uid of a unix socket's other end; None for TCP, which has none."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    size = struct.calcsize("3i")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", packed)
    return int(uid)


def is_local_name(host: str) -> bool:
    """Whether a Host header names an address, not a name that somebody's DNS has.

    A web page that resolves its own name to this host must not read what is here.
    """
    name = host.rpartition(":")[0] if not host.endswith("]") else host
    name = (name or host).strip("[]")
    if name == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
