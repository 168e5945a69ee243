"""Which sockets are open now, by cookie, in every network namespace of this host."""

import contextlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ESTABLISHED = 1 << 1  # TCP_ESTABLISHED, as a bit of sock_diag's state mask


def established_cookies() -> frozenset[int]:
    """Return the socket cookies of all established TCP connections.

    Cookies are unique over the host's namespaces. Namespaces this process may not
    enter are left out: without CAP_SYS_ADMIN that is all but its own.
    """
    cookies: set[int] = set()
    for namespace in _namespaces():
        # A thread of its own: setns changes the calling thread's namespace for good.
        with ThreadPoolExecutor(max_workers=1) as thread:
            cookies |= thread.submit(_cookies_in, namespace).result()
    return frozenset(cookies)


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


def _cookies_in(namespace: Path | None) -> set[int]:
    # Imported here: only who asks for open sockets pays for pyroute2.
    from pyroute2 import DiagSocket  # noqa: PLC0415
    from pyroute2.netns import setns  # noqa: PLC0415

    cookies: set[int] = set()
    with contextlib.suppress(OSError):
        if namespace is not None:
            fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd)
            finally:
                os.close(fd)
        with DiagSocket() as diag:
            for family in (socket.AF_INET, socket.AF_INET6):
                for found in diag.get_sock_stats(family=family, states=_ESTABLISHED):
                    cookies.add(found["idiag_cookie"])
    return cookies
