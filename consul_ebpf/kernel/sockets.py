"""TCP sockets of this host, by cookie, in every network namespace: seen and destroyed.

Namespaces this process may not enter are left out: without CAP_SYS_ADMIN and
CAP_SYS_PTRACE that is all but its own.
"""

import ctypes
import errno
import functools
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SO_NETNS_COOKIE = 71

_ESTABLISHED = 1 << 1  # TCP_ESTABLISHED, as a bit of sock_diag's state mask
_CONNECTED = 0xFFF & ~(1 << 10 | 1 << 7 | 1 << 6 | 1 << 3)
"""All states but LISTEN, CLOSE, TIME_WAIT and SYN_RECV: ends of a connection."""

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_CLONE_NEWNET = 0x40000000
_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21
_REQUEST_ACK = 1 | 4  # NLM_F_REQUEST | NLM_F_ACK
_NLMSGHDR = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")

Found = Mapping[str, Any]
"""A socket, as pyroute2 decodes it: `idiag_cookie` and so on."""

Peers = frozenset[tuple[str, int]]
"""Addresses and ports, as sock_diag writes them."""


def established_cookies() -> frozenset[int]:
    """Return the socket cookies of all established TCP connections.

    Cookies are unique over the host's namespaces.
    """
    cookies: set[int] = set()
    none: list[Found] = []
    for namespace in _namespaces():
        found = _inside(namespace, _established, none)
        cookies |= {each["idiag_cookie"] for each in found}
    return frozenset(cookies)


def destroy(doomed: Mapping[int, Peers], per_second: float) -> int:
    """Destroy sockets by cookie, those that have one of these peers.

    Their owners get ECONNABORTED. Returns how many were destroyed.

    Raises:
        OSError: EPERM without CAP_NET_ADMIN, EOPNOTSUPP if the kernel cannot
            (CONFIG_INET_DIAG_DESTROY).
    """
    left = dict(doomed)
    pace = _Pace(per_second)
    count = 0
    for namespace in _namespaces():
        if not left:
            break
        count += _inside(namespace, functools.partial(_destroy_here, left, pace), 0)
    return count


def netns_cookie(path: Path) -> int:
    """Return the cookie of a network namespace; raises OSError."""

    def ask() -> int:
        _enter(path)
        with socket.socket() as sock:
            packed = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        return int(struct.unpack("=Q", packed)[0])

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(ask).result()


def _destroy_here(left: dict[int, Peers], pace: "_Pace") -> int:
    count = 0
    for found in _connections(_CONNECTED):
        cookie = found["idiag_cookie"]
        if (found["idiag_dst"], found["idiag_dport"]) in left.get(cookie, ()):
            pace.wait()
            del left[cookie]
            count += _destroy_one(found)
    return count


def _established() -> list[Found]:
    return list(_connections(_ESTABLISHED))


def _connections(states: int) -> Iterator[Found]:
    """Yield the TCP sockets of this thread's namespace."""
    # Imported here: only who asks for sockets pays for pyroute2.
    from pyroute2 import DiagSocket  # noqa: PLC0415

    with DiagSocket() as diag:
        for family in _FAMILIES:
            yield from diag.get_sock_stats(family=family, states=states)


def _destroy_one(found: Found) -> bool:
    """Send SOCK_DESTROY; whether the socket was still there.

    By hand: pyroute2's DiagSocket does not see the errors of such a request.
    """
    family = found["idiag_family"]
    ends = b"".join(
        socket.inet_pton(family, found[end]).ljust(16, b"\0")
        for end in ("idiag_src", "idiag_dst")
    )
    ports = struct.pack("!HH", found["idiag_sport"], found["idiag_dport"])
    request = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, _CONNECTED)
    request += ports + ends
    request += struct.pack("=IQ", found["idiag_if"], found["idiag_cookie"])
    size = _NLMSGHDR.size + len(request)
    header = _NLMSGHDR.pack(size, _SOCK_DESTROY, _REQUEST_ACK, 1, 0)
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as netlink:
        netlink.send(header + request)
        answer = netlink.recv(4096)
    number = -int(_ERROR.unpack_from(answer, _NLMSGHDR.size)[0])
    if number in (0, errno.ENOENT):
        return number == 0
    raise OSError(number, os.strerror(number))


class _Pace:
    """At most so many a second, the first at once."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1 / per_second
        self._next = time.monotonic()

    def wait(self) -> None:
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + self._pause


def _namespaces() -> Iterator[Path | None]:
    """Yield one path for each network namespace with a process; None is our own."""
    yield None
    seen = {_inode(Path("/proc/self/ns/net"))}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            path = process / "ns" / "net"
            inode = _inode(path)
            if inode is not None and inode not in seen:
                seen.add(inode)
                yield path


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:  # gone meanwhile, or not ours to see
        return None


def _inside(namespace: Path | None, work: Callable[[], T], nothing: T) -> T:
    """Do some work in a namespace; return `nothing` if it cannot be entered."""

    def enter_and_work() -> T:
        if namespace is not None:
            try:
                _enter(namespace)
            except OSError:  # gone meanwhile, or not ours to enter
                return nothing
        return work()

    # A thread of its own: setns changes the calling thread's namespace for good.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(enter_and_work).result()


def _enter(namespace: Path) -> None:
    """Enter a network namespace with this thread; os.setns comes with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
