"""Finds a pod's cgroup, which is there before its first container is.

Kubelet has two ways to name it, after its `cgroupDriver`:

    cgroupfs  kubepods/burstable/pod<uid>
    systemd   kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice

each without `burstable` for a pod of the class Guaranteed. For systemd, `-` in the uid
becomes `_`. Kubelet's `cgroupRoot` comes before `kubepods`.
"""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from consul_ebpf.kubernetes.pods.volume import PublishError

LATE_SECONDS = 30.0
"""Kubelet makes a pod's cgroup before its mounts, or soon after. A pod that has none
after so long has it elsewhere."""

MAX_PODS = 1024
"""How many pods without a cgroup are remembered."""

CLASSES = ("burstable", "besteffort", "")
"""Of pods; the last is Guaranteed."""


class PodCgroups:
    """Looks for pods' cgroups below the top of cgroup v2. It blocks, for a few stats.

    Args:
        top: the directory where cgroup v2 is mounted.
        root: kubelet's `cgroupRoot`; empty: the top.
    """

    def __init__(self, top: Path, root: str = "") -> None:
        self._top = top
        self._root = tuple(part for part in root.split("/") if part)

    def __repr__(self) -> str:
        return f"<PodCgroups below {self.where}>"

    @property
    def where(self) -> Path:
        """The directory below which pods' cgroups are looked for."""
        return self._top.joinpath(*self._root)

    def find(self, uid: str) -> str:
        """Return the directory of a pod's cgroup; empty: it is not there."""
        for path in self._places(uid):
            try:
                if path.is_dir() and not path.is_symlink():
                    return str(path)
            except OSError:  # it cannot be looked at
                continue
        return ""

    def find_all(self) -> str:
        """Return the directory below which all pods' cgroups are; empty: there is none.

        Kubelet makes it when it starts.
        """
        for path in self._tops():
            if path.is_dir():
                return str(path)
        return ""

    def _tops(self) -> Iterator[Path]:
        yield self.where / "kubepods"
        yield self._top / _slices([*self._root, "kubepods"])
        yield self.where / _slices(["kubepods"])

    def _places(self, uid: str) -> Iterator[Path]:
        for each in CLASSES:
            names = [name for name in ("kubepods", each, f"pod{uid}") if name]
            yield self.where.joinpath(*names)
            yield self._top / _slices([*self._root, *names])
            if self._root:  # as the host sees the cgroups of a node in a container
                yield self.where / _slices(names)


def _slices(names: list[str]) -> Path:
    """Return the path that systemd makes of nested slices."""
    escaped = (name.replace("-", "_") for name in names)
    whole = accumulate(escaped, lambda above, name: f"{above}-{name}")
    return Path(*(f"{name}.slice" for name in whole))


class MissingCgroups:
    """Remembers since when each pod's cgroup is missing."""

    def __init__(self, cgroups: PodCgroups) -> None:
        """Look by `cgroups`."""
        self._cgroups = cgroups
        self._since: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<MissingCgroups of {len(self._since)} pods>"

    def find(self, uid: str, now: float) -> str:
        """Return the directory of a pod's cgroup.

        Raises:
            PublishError: UNAVAILABLE: it is not there.
        """
        if found := self._cgroups.find(uid):
            self.forget(uid)
            return found
        if len(self._since) >= MAX_PODS:
            self._since.clear()
        since = self._since.setdefault(uid, now)
        if now - since < LATE_SECONDS:
            raise PublishError("UNAVAILABLE", "the pod's cgroup is not there yet")
        raise PublishError(
            "UNAVAILABLE",
            f"no cgroup of pod {uid} below {self._cgroups.where}: see"
            " kubernetes.cgroup_root",
        )

    def forget(self, uid: str) -> None:
        """Forget a pod."""
        self._since.pop(uid, None)
