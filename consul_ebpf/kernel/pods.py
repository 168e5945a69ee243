"""Finds each proxy's network namespace and cgroup, as the kernel numbers them.

A VIP is bound to them. Each path is looked at again and again, because a pod that
restarts has another namespace at the same path. If a namespace cannot be identified
right now, the last known one is kept. If its path is gone, the VIP is withdrawn. A pod
that ends is no fault: its VIP stays bound to where nobody is until its volume goes.
"""

import functools
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.kernel import host
from consul_ebpf.kernel.mountinfo import Mount, Points, mounts, points_of, read_points
from consul_ebpf.model.answers import Answers, Missing
from consul_ebpf.model.errors import CgroupError, ConsulEbpfError, KernelError
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import Binding, Proxy

Place = tuple[str, str]
"""A proxy's `netns` and `cgroup`: paths as configured, or empty."""


Bindings = Answers[Place, Binding]
"""By place, not by proxy: if a proxy's path changes, the answer for the old path is not
used for the new one."""

UNBOUND: Bindings = Answers({("", ""): Binding()})
"""For a proxy without a place, whose VIP may be used from anywhere."""

LOOK_SECONDS = 5.0
SLOW_LOOK_SECONDS = 1.0
"""After so long a look asks for no more cookies: `SLOW_LOOK_SECONDS` if some path was
slow at the last look. The caller waits for the bindings that long."""

SLOW_SECONDS = 0.3
"""If it takes longer to look at a path, the path is slow."""

Cgroup = tuple[int, int]
"""A cgroup's id, and how deep it is."""

_Seen = tuple[int, int, int]
"""Tells one namespace at a path from the next: its device, inode and change time, or
its process's id and start time."""


def place_of(proxy: Proxy) -> Place:
    """Return where a proxy lives."""
    return proxy.netns, proxy.cgroup


class _GoneError(KernelError):
    """There is nothing at a path."""


class Binder:
    """Finds proxies' bindings, and remembers them while their paths lead to the same.

    It blocks.

    Args:
        namespaces: is asked for cookies; None: proxies with a netns get no binding.
        mounts: reads this process's mounts.
    """

    def __init__(
        self,
        namespaces: Namespaces | None,
        mounts: Callable[[], Iterable[Mount]] = mounts,
    ) -> None:
        self._namespaces = namespaces
        self._mounts = mounts
        self._cookies: dict[str, tuple[_Seen, int]] = {}
        self._cgroups: dict[str, tuple[tuple[int, int], Cgroup]] = {}
        """By path, the device and inode of a cgroup's directory, and the cgroup. Its
        depth never changes."""
        self._slow: dict[str, float] = {}
        """How many seconds the last look took, for each slow path."""

    def __repr__(self) -> str:
        return f"<Binder {len(self._cookies)} namespaces>"

    def look(self, proxies: Iterable[Proxy]) -> Bindings:
        """Return the binding of each place of these proxies, or why there is none."""
        found: dict[Place, Binding | Missing] = dict(UNBOUND)
        places: dict[Place, bool] = {}
        for proxy in proxies:
            place = place_of(proxy)
            places[place] = proxy.is_pods or places.get(place, False)
        begun = time.monotonic()
        # Once for all: with a hundred pods these are thousands of lines.
        points = functools.cache(lambda: points_of(self._mounts()))
        # Slow paths come last, so that no other path waits for them.
        for place in sorted(places, key=lambda each: self._slow.get(each[0], 0)):
            netns, cgroup = place
            limit = SLOW_LOOK_SECONDS if self._slow else LOOK_SECONDS
            try:
                cookie = self._in_time(netns, begun + limit) if netns else 0
                number, level = self._cgroup(cgroup, points) if cgroup else (0, 0)
            except ConsulEbpfError as error:
                gone = isinstance(error, _GoneError)
                ends = gone and places[place]
                found[place] = Missing(str(error), quiet=ends, gone=gone and not ends)
            else:
                found[place] = Binding(cookie, number, level)
        in_use, cgroups = ({each[n] for each in found} for n in (0, 1))
        for path in self._cgroups.keys() - cgroups:
            del self._cgroups[path]
        self._slow = {path: slow for path, slow in self._slow.items() if path in in_use}
        for path in self._cookies.keys() - in_use:
            del self._cookies[path]
        return Answers(found)

    def _cgroup(self, path: str, points: Callable[[], Points]) -> Cgroup:
        """Return a cgroup's id and depth; the depth of a new one is counted."""
        known = self._cgroups.get(path)
        try:
            status = os.stat(path)  # noqa: PTH116  # for every proxy: a Path costs more
        except (OSError, ValueError):
            status = None  # `cgroup_of` says why
        if known and status and known[0] == (status.st_dev, status.st_ino):
            return known[1]
        found = cgroup_of(path, points)
        if status and status.st_ino == found[0]:
            self._cgroups[path] = (status.st_dev, status.st_ino), found
        return found

    def _in_time(self, path: str, until: float) -> int:
        """Return a namespace's cookie; after `until`, only if it is remembered."""
        begun = time.monotonic()
        try:
            with boundary(KernelError, f"network namespace {one_line(path)}"):
                return self._cookie(path, may_ask=begun < until)
        finally:
            took = time.monotonic() - begun
            if took > SLOW_SECONDS:
                self._slow[path] = took
            elif begun < until:
                self._slow.pop(path, None)

    def _cookie(self, path: str, *, may_ask: bool) -> int:
        if self._namespaces is None:
            raise KernelError(
                f"network namespace {one_line(path)}: this process cannot look into it"
            )
        seen = _seen(path)
        known = self._cookies.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        try:
            if not may_ask:
                raise KernelError(
                    f"network namespace {one_line(path)}: not looked at yet, because "
                    "others took long; it is looked at again soon"
                )
            cookie = self._namespaces.cookie(path)
        except ConsulEbpfError:
            if known is None or seen is not None:
                raise
            return known[1]  # it is there, but cannot be identified right now
        if seen is not None:
            self._cookies[path] = seen, cookie
        return cookie


def _seen(path: str) -> _Seen | None:
    """Identify the namespace at a path; None if only its cookie can identify it.

    Raises:
        KernelError: nothing is there, or it is not a path.
    """
    try:
        status = Path(path).stat()
    except PermissionError:
        return _process(path)
    except OSError as error:
        raise _gone(path, error) from error
    except ValueError as error:
        raise KernelError(
            f"network namespace {one_line(path)} is not a path"
        ) from error
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _process(path: str) -> _Seen | None:
    """Identify /proc/PID/ns/net by its process: to look at it needs privileges."""
    found = re.fullmatch(r"/proc/(\d+)/ns/net", path)
    if found is None:
        return None
    try:
        status = Path(f"/proc/{found[1]}/stat").read_bytes()
    except OSError as error:
        raise _gone(path, error) from error
    return 0, int(found[1]), int(status.rpartition(b")")[2].split()[19])


def _gone(path: str, error: OSError) -> KernelError:
    return _GoneError(
        f"network namespace {one_line(path)} is not there ({error.strerror}): its "
        "VIP is withdrawn until it is"
    )


def cgroup_of(path: str, points: Callable[[], Points] = read_points) -> Cgroup:
    """Return the id (inode) and depth of a cgroup v2 directory; the root's depth is 0.

    Args:
        path: of the directory.
        points: returns this process's mounts.

    Raises:
        KernelError: it is not there, or is not such a directory.
    """
    with boundary(KernelError, f"cgroup {one_line(path)}"):
        try:
            directory = Path(path).resolve(strict=True)
            status = directory.stat()
        except FileNotFoundError as error:
            raise _GoneError(
                f"cgroup {one_line(path)} is not there ({error.strerror}): its VIP "
                "is withdrawn until it is"
            ) from error
        if not stat.S_ISDIR(status.st_mode):
            raise KernelError(f"cgroup {one_line(path)} is no directory: name one")
        try:
            return status.st_ino, host.cgroup_level(directory, points())
        except CgroupError as error:
            raise KernelError(f"cgroup {one_line(path)}: {error}") from error
