"""What a cluster changes in its host, written down before, and undone at its end.

All of it has the directory of a cluster as its root; `host.json` in there says how the
host was, so that a later run can undo what one that was killed left.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.lab.kubernetes import links
from tests.lab.processes import LabError, wait_until
from tests.lab.scratch import cgroup2_mount, mounts, remove_cgroup

RECORD = "host.json"
SHIM = "containerd-shim-runc-v2"
CGROUP = "kubepods"
_MNT_DETACH = 2

SYSCTLS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_unprivileged_port_start",
    "vm/overcommit_memory",
)
"""What kubelet and the network plugins set."""

PLACES = (
    "/etc/cdi",
    "/etc/cni",
    "/opt/cni",
    "/opt/containerd",
    "/run/cdi",
    "/run/containerd",
    "/run/netns",
    "/run/nri",
    "/usr/libexec/kubernetes",
    "/var/lib/calico",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
"""What may be made outside the root, because nothing says where it goes."""


@dataclass(frozen=True)
class _Record:
    """How the host was."""

    sysctls: dict[str, str]
    controllers: list[str]
    """Of the cgroup v2 root's children."""
    places: list[str]


def record(root: Path) -> None:
    """Write down how the host is, before anything of the cluster is started.

    Raises:
        LabError: the host runs pods of somebody else's.
    """
    if found := _pod_cgroups():
        raise LabError(f"this host runs pods of its own: {found[0]}")
    sysctls = {name: _sysctl(name).read_text().strip() for name in SYSCTLS}
    places = [place for place in PLACES if Path(place).exists()]
    text = json.dumps(asdict(_Record(sysctls, _controllers(), places)))
    (root / RECORD).write_text(text)


def is_recorded(root: Path) -> bool:
    """Whether a cluster's record is there."""
    try:
        return (root / RECORD).exists()
    except PermissionError:  # a BPF file system, which refuses names with a dot
        return False


def restore(root: Path) -> None:
    """End what still runs of a cluster and undo what it did; the root stays.

    Raises:
        LabError: something does not go away; then no file below the root is safe.
    """
    if not is_recorded(root):
        return
    before = _Record(**json.loads((root / RECORD).read_text()))
    _end_shims(root)
    for cgroup in _pod_cgroups():
        _remove_pods(cgroup)
    _unmount_below(root)
    links.remove_links()
    for name, value in before.sysctls.items():
        _sysctl(name).write_text(value)
    if control := _subtree_control():
        for controller in set(_controllers()) - set(before.controllers):
            control.write_text(f"-{controller}")
    for place in set(PLACES) - set(before.places):
        _remove_tree(Path(place))
    (root / RECORD).unlink()


def remove(root: Path) -> None:
    """Undo what a cluster did, and remove its directory, unless something is stuck.

    Raises:
        LabError: something does not go away; the directory stays for the next look.
    """
    restore(root)
    shutil.rmtree(root)


def switch_off(root: Path) -> None:
    """End what runs of pods, and forget all that is in memory: mounts, cgroups, links.

    Nobody starts anything meanwhile: containerd and kubelet have been ended.
    """
    _end_shims(root)
    for cgroup in _pod_cgroups():
        _remove_pods(cgroup)
    _unmount_below(root)
    links.remove_cables()


def traces() -> list[str] | None:
    """List what a cluster could leave, apart from what is below its root.

    None: a cluster of another process runs, and nothing can be told from that one's.
    """
    try:
        with only_one(patience=0):
            return _traces()
    except LabError:
        return None


def _traces() -> list[str]:
    return [
        *(f"pods {cgroup}" for cgroup in _pod_cgroups()),
        *(f"link {name}" for name in links.names()),
        *(f"sysctl {name}={_sysctl(name).read_text().strip()}" for name in SYSCTLS),
        *(f"cgroup controller {name}" for name in _controllers()),
        *(f"place {place}" for place in PLACES if Path(place).exists()),
        *(f"shim {pid}" for pid in _shims("")),
    ]


@contextmanager
def only_one(patience: float = 3600.0) -> Iterator[None]:
    """Wait until this is the only cluster of the host, and let it be so."""
    with socket.socket(socket.AF_UNIX) as lock:
        deadline = time.monotonic() + patience
        said = False
        while True:
            try:
                lock.bind("\0consul-ebpf-kubernetes")
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise LabError("another cluster of the lab still runs") from None
                if not said:
                    print("waiting for the end of another cluster of the lab")
                said = True
                time.sleep(0.5)
        yield


def _shims(root: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_text(errors="replace").split("\0")
            if words[0].endswith(SHIM) and any(word.startswith(root) for word in words):
                found.append(int(process.parent.name))
    return found


def _end_shims(root: Path) -> None:
    for pid in _shims(str(root)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _shims(str(root)), "the end of the shims", 10)


def _pod_cgroups() -> list[Path]:
    """Return the tops of pods' cgroups: one for each hierarchy that has them."""
    top = cgroup2_mount()
    if top is None:
        return []
    hybrid = Path("/sys/fs/cgroup").glob(f"*/{CGROUP}/")
    return sorted(
        {*hybrid, *top.glob(f"{CGROUP}/")}, key=lambda at: top not in at.parents
    )


def _remove_pods(cgroup: Path) -> None:
    if (cgroup / "cgroup.kill").exists():
        remove_cgroup(cgroup)
        return
    # A hierarchy of version 1: its processes were those of version 2's.
    nested = sorted(cgroup.rglob("*/"), key=lambda at: len(at.parts), reverse=True)
    for each in [*nested, cgroup]:
        if each.is_dir():
            wait_until(partial(_rmdir, each), f"{each} empty", 10)


def _rmdir(directory: Path) -> bool:
    directory.rmdir()
    return True


def _unmount_below(root: Path) -> None:
    for _ in range(5):  # mounts may lie on each other
        below = [at for at in _mount_points() if root in (at, *at.parents)]
        if not below:
            return
        for at in reversed(below):
            _umount(at)
    raise LabError(f"{below[0]} cannot be unmounted")


def _mount_points() -> list[Path]:
    return [Path(line.split()[1]) for line in mounts()]


def _umount(at: Path) -> None:
    ctypes.CDLL(None).umount2(os.fsencode(at), _MNT_DETACH)


def _subtree_control() -> Path | None:
    root = cgroup2_mount()
    return root / "cgroup.subtree_control" if root else None


def _controllers() -> list[str]:
    control = _subtree_control()
    return control.read_text().split() if control else []


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name


def _remove_tree(place: Path) -> None:
    """Remove a directory, but nothing on another file system that is mounted there."""
    for at in reversed([at for at in _mount_points() if place in (at, *at.parents)]):
        _umount(at)
    if not place.is_dir() or place.is_mount():
        return
    for below in sorted(place.rglob("*"), key=lambda at: len(at.parts), reverse=True):
        if below.is_dir() and not below.is_symlink():
            below.rmdir()
        else:
            below.unlink()
    place.rmdir()
