"""Makes and removes the places of pods' volumes: a tmpfs each, or a directory."""

import errno
import os
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Protocol

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.envoy.directories import BOOTSTRAP
from consul_ebpf.kernel import volume_mounts
from consul_ebpf.kernel.closed_files import Asks
from consul_ebpf.model.errors import ConsulEbpfError

SECONDS = 10.0
"""How long the helper may take for one mount."""


class Mounts(Protocol):
    """Makes volumes at their targets, paths that `check_target` accepts. It blocks."""

    def mount(self, target: str) -> None:
        """Make the volume if it is not there; one that is there keeps its files.

        Raises:
            ConsulEbpfError: it cannot be made.
        """
        ...

    def unmount(self, target: str) -> None:
        """Remove the volume and its directory; it may be gone.

        Raises:
            ConsulEbpfError: it cannot be removed.
        """
        ...

    def is_mounted(self, target: str) -> bool:
        """Whether the volume is there."""
        ...

    def empty(self, target: str) -> None:
        """Remove what an earlier boot of the node left in a volume that is new.

        Raises:
            ConsulEbpfError: a file cannot be removed.
        """
        ...


class TmpfsMounts:
    """A `Mounts` of file systems in memory, mounted by the privileged helper."""

    def __init__(self, helper: Asks, kubelet_directory: str) -> None:
        """Ask this helper, which was started with the same `kubelet_directory`."""
        self._helper = helper
        self._kubelet = kubelet_directory

    def __repr__(self) -> str:
        return f"<TmpfsMounts below {self._kubelet}>"

    def mount(self, target: str) -> None:
        """Mount; see `Mounts.mount`."""
        self._ask("mount", target)

    def unmount(self, target: str) -> None:
        """Unmount all that is mounted there, and remove the directory."""
        self._ask("unmount", target)
        with _named(target, "cannot be removed"):
            volume_mounts.remove_directory(self._kubelet, *_pod_and_name(target))

    def is_mounted(self, target: str) -> bool:
        """Whether something is mounted at the target."""
        try:
            above = os.lstat(PurePosixPath(target).parent)
            return os.lstat(target).st_dev != above.st_dev
        except OSError:
            return False

    def empty(self, target: str) -> None:
        """Do nothing: no mount outlives a boot, so its files are of this one."""

    def _ask(self, name: str, target: str) -> None:
        answer = self._helper.ask(name, *_pod_and_name(target), seconds=SECONDS)
        if (number := answer.get("errno")) is None:
            return
        hint = ""
        if number == errno.EPERM:
            hint = ': grant CAP_SYS_ADMIN, or set kubernetes.volumes = "directory"'
        why = one_line(answer.get("message") or "no reason given")
        raise ConsulEbpfError(f"{_shown(target)} cannot be {name}ed: {why}{hint}")


class PlainDirectories:
    """A `Mounts` of directories on the node's disk, for a host that forbids mounts."""

    def __init__(self, kubelet_directory: str) -> None:
        """Make them below this directory alone."""
        self._kubelet = kubelet_directory

    def __repr__(self) -> str:
        return f"<PlainDirectories below {self._kubelet}>"

    def mount(self, target: str) -> None:
        """Make the directory; see `Mounts.mount`."""
        with _named(target, "cannot be made"):
            volume_mounts.make_directory(self._kubelet, *_pod_and_name(target))

    def unmount(self, target: str) -> None:
        """Remove the directory with its files."""
        with _named(target, "cannot be removed"):
            volume_mounts.remove_directory(self._kubelet, *_pod_and_name(target))

    def is_mounted(self, target: str) -> bool:
        """Whether the directory is there."""
        return PurePosixPath(target).is_absolute() and _is_directory(target)

    def empty(self, target: str) -> None:
        """Remove the files, the bootstrap first: no Envoy may start on an old VIP."""
        with _named(target, "holds files of an earlier boot"):
            place = self._kubelet, *_pod_and_name(target)
            volume_mounts.remove_files(*place, first=BOOTSTRAP)


def _pod_and_name(target: str) -> tuple[str, str]:
    """Return the pod's uid and the volume's name of a target."""
    parts = PurePosixPath(target).parts
    return parts[-5], parts[-2]


def _is_directory(path: str) -> bool:
    try:
        return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112,PTH114
    except (OSError, ValueError):
        return False


def _shown(target: str) -> str:
    return f"the volume {one_line(target)}"


def _named(target: str, what: str) -> AbstractContextManager[None]:
    return boundary(ConsulEbpfError, f"{_shown(target)} {what}")
