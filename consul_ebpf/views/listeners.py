"""The endpoint's sockets. They are opened before anything is attached."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reading import kind_of
from consul_ebpf.model.errors import AlreadyRunningError, ConfigError, ConsulEbpfError
from consul_ebpf.model.values import host_port
from consul_ebpf.views.peers import credentials

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
        self._made: tuple[int, int] | None = None
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
        with contextlib.suppress(OSError):
            if made is not None and made == _identity(self.path):
                self.path.unlink()

    def _open_unix(self) -> None:
        try:
            _make_way(self.path)
            unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.all.append(unix)
            unix.setblocking(False)
            unix.bind(str(self.path))
            self._made = _identity(self.path)
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
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    shown = one_line(path)
    if not stat.S_ISSOCK(status.st_mode):
        kind = kind_of(status.st_mode)
        raise ConfigError(
            f"api.socket: {shown} is {kind}, which is left as it is; name another path"
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigError(
            f"api.socket: {shown} is a socket of user {status.st_uid}, which is left"
            " as it is; name another path"
        )
    if (listener := _listener(path)) is not None:
        raise AlreadyRunningError(
            f"api.socket: {listener} listens at {shown}, perhaps another controller:"
            " stop it, or name another path"
        )
    path.unlink()


def _listener(path: Path) -> str | None:
    """Return which process listens at a socket, in words; None: none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:  # its queue is full, it is of another type, ...
            return "somebody"
        return f"pid {credentials(probe)[0]}"


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
