"""Whose VIP is whose: a proxy's namespace and cgroup, as the kernel numbers them.

A path is looked at again and again, for a pod that was restarted has another namespace
at the same path. While a namespace cannot be told, a proxy keeps the one known of it;
one that is gone takes its proxy's VIP with it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from consul_ebpf.kernel import host
from consul_ebpf.model.errors import ConsulEbpfError, KernelError
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import Binding, Proxy

Place = tuple[str, str]
"""A proxy's `netns` and `cgroup`, as configured; empty: not known."""

Bindings = Mapping[Place, Binding | str]
"""The binding of each place, or why there is none, in words."""

UNBOUND: Bindings = {("", ""): Binding()}
"""Of proxies of which no place is known: their VIPs are anybody's."""

_Seen = tuple[int, int, int]
"""What tells one namespace at a path from the next: device, inode and time of it, or
its process and when that started."""


def place_of(proxy: Proxy) -> Place:
    """Return where a proxy lives, as far as it is known."""
    return proxy.netns, proxy.cgroup


class Binder:
    """Finds the bindings of proxies; remembers what it found. Blocking."""

    def __init__(self, namespaces: Namespaces | None) -> None:
        """Ask `namespaces` for cookies; None: proxies with a netns are refused."""
        self._namespaces = namespaces
        self._cookies: dict[str, tuple[_Seen, int]] = {}

    def __repr__(self) -> str:
        return f"<Binder {len(self._cookies)} namespaces>"

    def look(self, proxies: Iterable[Proxy]) -> Bindings:
        """Return the bindings of all places of these proxies."""
        found = dict(UNBOUND)
        for netns, cgroup in {place_of(proxy) for proxy in proxies}:
            try:
                cookie = self._cookie(netns) if netns else 0
                number, level = cgroup_of(cgroup) if cgroup else (0, 0)
            except ConsulEbpfError as error:
                found[netns, cgroup] = str(error)
            else:
                found[netns, cgroup] = Binding(cookie, number, level)
        in_use = {netns for netns, _ in found}
        for path in self._cookies.keys() - in_use:
            del self._cookies[path]
        return found

    def _cookie(self, path: str) -> int:
        if self._namespaces is None:
            raise KernelError(f"network namespace {path}: nobody here can look into it")
        seen = _seen(path)
        known = self._cookies.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        try:
            cookie = self._namespaces.cookie(path)
        except ConsulEbpfError:
            if known is None or seen is not None:
                raise
            return known[1]  # it is there, and what it is cannot be told now
        if seen is not None:
            self._cookies[path] = seen, cookie
        return cookie


def _seen(path: str) -> _Seen | None:
    """Look which namespace is at a path now; None where that cannot be told cheaply.

    Raises:
        KernelError: there is none.
    """
    try:
        status = Path(path).stat()
    except PermissionError:
        return _process(path)
    except OSError as error:
        raise _gone(path, error) from error
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _process(path: str) -> _Seen | None:
    """Tell /proc/PID/ns/net, not ours to see without privileges, by its process."""
    found = re.fullmatch(r"/proc/(\d+)/ns/net", path)
    if found is None:
        return None
    try:
        text = Path(f"/proc/{found[1]}/stat").read_text(encoding="utf-8")
    except OSError as error:
        raise _gone(path, error) from error
    return 0, int(found[1]), int(text.rpartition(")")[2].split()[19])


def _gone(path: str, error: OSError) -> KernelError:
    return KernelError(
        f"network namespace {path} is not there ({error.strerror}): its VIP leads "
        "nowhere until it is"
    )


def cgroup_of(path: str) -> tuple[int, int]:
    """Return the id and the depth of a cgroup v2 directory.

    Raises:
        KernelError: it is not there, or is no such directory.
    """
    directory = Path(path)
    mounts = [mount for mount in host.mounts() if mount.kind == "cgroup2"]
    above = [mount for mount in mounts if directory.is_relative_to(mount.point)]
    if not above:
        raise KernelError(f"cgroup {path} is not below a cgroup v2 mount: name one")
    mount = max(above, key=lambda each: len(each.point.parts))
    depth = len(Path(mount.root).parts) - 1  # of the mount itself
    depth += len(directory.relative_to(mount.point).parts)
    try:
        return os.stat(path).st_ino, depth  # noqa: PTH116  # as the others
    except OSError as error:
        raise KernelError(
            f"cgroup {path} is not there ({error.strerror}): its VIP leads nowhere "
            "until it is"
        ) from error
