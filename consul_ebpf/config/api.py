"""Checks of `[api]` that its types cannot make. Pure."""

from collections.abc import Iterator
from pathlib import PurePath

from consul_ebpf.base import accounts
from consul_ebpf.config.schema import Api
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.http_address import MAX_SOCKET_PATH
from consul_ebpf.model.names import shown

SOCKET = "api.sock"
"""The socket's name in the bootstraps' directory, if `api.socket` is empty."""


def problems(api: Api, directory: str) -> Iterator[tuple[str, str]]:
    """Yield (key path, what is wrong and what to do) for each problem.

    Args:
        api: the table.
        directory: `bootstrap.directory`.
    """
    if not api.enabled:
        return
    if api.socket:
        path = PurePath(api.socket)
        if not (path.is_absolute() and path.name and api.socket.isprintable()):
            wrong = f"{shown(api.socket)} is not an absolute path; begin it with /"
            yield "api.socket", wrong
    whole = str(socket_path(api, directory))
    if (size := len(whole.encode("utf-8", "surrogatepass"))) > MAX_SOCKET_PATH:
        key = "api.socket" if api.socket else "bootstrap.directory"
        wrong = f"{shown(whole)} has {size} bytes; a unix socket's path has at most"
        yield key, f"{wrong} {MAX_SOCKET_PATH}; set api.socket to a shorter one"
    if api.listen:
        try:
            parse_endpoint(api.listen)
        except ValueError as error:
            example = 'write it like "127.0.0.1:9102"'
            yield "api.listen", f"{shown(api.listen)}: {error}; {example}"
    for index, user in enumerate(api.users):
        if wrong := accounts.problem(user):
            yield f"api.users[{index}]", f"{shown(user)} {wrong}"


def socket_path(api: Api, directory: str) -> PurePath:
    """Return where the endpoint's socket is."""
    return PurePath(api.socket or PurePath(directory) / SOCKET)
