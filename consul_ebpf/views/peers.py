"""Which users are at the other end of the endpoint's connections."""

import os
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from aiohttp import web

from consul_ebpf.base.accounts import uid_of
from consul_ebpf.base.unix_sockets import credentials
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import shown
from consul_ebpf.views.room import Who


def writers(users: Iterable[str]) -> frozenset[int]:
    """Return the uids that may register proxies: root's, our own, and `api.users`.

    Raises:
        ConfigError: this host has no such user.
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
    """Return the uid at the other end of a unix socket; None: it is a TCP socket."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    return credentials(connection)[1]


def client_of(request: web.Request) -> Who:
    """Return who asks: a uid, or over TCP the client's address."""
    transport = request.transport
    uid = peer_uid(transport.get_extra_info("socket") if transport else None)
    return (request.remote or "") if uid is None else uid


def is_local_name(host: str) -> bool:
    """Whether a Host header holds an IP address or `localhost`, with or without a port.

    A web page whose own name resolves to this host must not be able to read the
    endpoint.
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
