"""The endpoint's sockets. They are opened before anything is attached."""

import errno
import socket
from pathlib import Path

from consul_ebpf.base import unix_sockets
from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.model.values import host_port

SOCKET_MODE = 0o666
"""Everybody may read. Whoever registers a proxy is checked by uid."""

BACKLOG = 256
"""Connections that wait in the kernel to be accepted, at most."""


class Listeners:
    """Listening sockets: a unix socket and, where configured, one for TCP.

    A client that connects before they are served waits in the kernel.

    Args:
        path: of the unix socket.
        listen: IP address and port; None: no TCP.

    Raises:
        ConfigError: no socket can be made at `path`.
        AlreadyRunningError: another process listens there.
        ConsulEbpfError: the address or the path cannot be used now.
    """

    def __init__(self, path: Path, listen: tuple[str, int] | None = None) -> None:
        self.path = path
        self.all: list[socket.socket] = []
        self._made: unix_sockets.Identity | None = None
        try:
            self._open_unix()
            if listen is not None:
                self.all.append(open_tcp(*listen, "api.listen"))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Listeners {self.path}>"

    def close(self) -> None:
        """Close them, and remove the unix socket unless another one took its place."""
        for each in self.all:
            each.close()
        made, self._made = self._made, None
        unix_sockets.remove(self.path, made)

    def _open_unix(self) -> None:
        try:
            _make_way(self.path)
            unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.all.append(unix)
            unix.setblocking(False)
            unix.bind(str(self.path))
            self._made = unix_sockets.identity(self.path)
            self.path.chmod(SOCKET_MODE)
            unix.listen(BACKLOG)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or one_line(error)
            raise _refused(
                f"api.socket: cannot listen at {one_line(self.path)}: {why}", error
            ) from error


def open_tcp(address: str, port: int, key: str) -> socket.socket:
    """Return a socket that listens at an IP address and port.

    Args:
        address: the IP address.
        port: the port.
        key: of the configuration, for the error.

    Raises:
        ConsulEbpfError: that cannot be had now.
    """
    six = ":" in address
    tcp = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    try:
        tcp.setblocking(False)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tcp.bind((address, port))
        tcp.listen(BACKLOG)
    except OSError as error:
        tcp.close()
        where = host_port(address, port)
        raise ConsulEbpfError(
            f"{key}: cannot listen at {where}: {error.strerror}{_hint(error)}"
        ) from error
    return tcp


def _refused(line: str, error: Exception) -> ConsulEbpfError:
    """Return the error to raise: a `ConfigError` if the path itself is wrong."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError | ValueError)
    if missing:
        return ConfigError(f"{line}; make its directory, or name another path")
    return ConsulEbpfError(line)


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; stop the process that listens there, or name another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; it is not an address of this host"
    return ""


def _make_way(path: Path) -> None:
    """Make the directory, and remove the socket of a controller that was killed."""
    if not path.parent.is_dir():
        path.parent.mkdir()
        path.parent.chmod(0o711)
    unix_sockets.make_way(path, "api.socket", "name another path")
