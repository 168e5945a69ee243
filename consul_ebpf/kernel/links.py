"""Attaches programs to a cgroup; an error names the programs that are in the way."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.mountinfo import mount_point
from consul_ebpf.model.errors import ConsulEbpfError, KernelError, KernelFeatureError

_ALLOW_MULTI = 2  # BPF_F_ALLOW_MULTI; links attach with it


def attach(program: int, hook: str, kind: int, cgroup: Path) -> int:
    """Attach a program by a new link; returns the link's descriptor.

    `kind` is the hook's enum bpf_attach_type. This needs no capability; only loading
    the program did.

    Raises:
        KernelFeatureError: the kernel has no cgroup links (before 5.7).
        KernelError: the cgroup is gone, or other programs are in the way.
    """
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(
            f"{hook} cannot be attached at {cgroup}: {error.strerror}"
        ) from error
    try:
        return libbpf.link_create(program, directory, kind)
    except OSError as error:
        raise _explain(error, hook, kind, cgroup) from error
    finally:
        os.close(directory)


def _explain(error: OSError, hook: str, kind: int, cgroup: Path) -> ConsulEbpfError:
    refused = f"{hook} cannot be attached at {cgroup}"
    if error.errno == errno.EINVAL:
        return KernelFeatureError(
            f"{refused}: the kernel knows no cgroup links; that needs Linux 5.7 or "
            f"newer with CONFIG_CGROUP_BPF, and this is {os.uname().release}"
        )
    if error.errno == errno.EPERM:
        in_the_way = "; ".join(_exclusive(kind, cgroup))
        if in_the_way:
            return KernelError(
                f"{refused}: {in_the_way} lets no other program in: have its owner "
                "attach it with BPF_F_ALLOW_MULTI, or set kernel.cgroup to a cgroup "
                "outside of that one"
            )
    if error.errno == errno.E2BIG:
        there = _programs(kind, cgroup)[0]
        return KernelError(
            f"{refused}: {len(there) or objects.MAX_PROGRAMS} programs are attached "
            f"there, as many as the kernel allows ({', '.join(there[:3])}, ...): "
            "detach one that is not needed, or set kernel.cgroup to another cgroup"
        )
    return KernelError(f"{refused}: {error.strerror}")


def _exclusive(kind: int, cgroup: Path) -> Iterator[str]:
    """Name the programs at this cgroup or above it that let no other one attach."""
    for directory in _up(cgroup):
        names, flags = _programs(kind, directory)
        if names and not flags & _ALLOW_MULTI:
            yield f"{', '.join(names)}, attached at {directory} with flags {flags},"


def programs_at(kind: int, cgroup: Path) -> list[str]:
    """Name the programs that a hook runs for a cgroup: attached to it or above it."""
    return [name for directory in _up(cgroup) for name in _programs(kind, directory)[0]]


def _up(cgroup: Path) -> Iterator[Path]:
    """Yield a cgroup and those above it, up to its mount point."""
    top = mount_point(cgroup)
    for directory in (cgroup, *cgroup.parents):
        yield directory
        if directory == top:
            return


def _programs(kind: int, cgroup: Path) -> tuple[list[str], int]:
    """Return the names of what is attached at a cgroup itself, and the attach flags."""
    try:
        fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return [], 0
    try:
        ids, flags = objects.programs_at(fd, kind)
    except OSError:  # without CAP_NET_ADMIN
        return [], 0
    finally:
        os.close(fd)
    return [_named(number) for number in ids], flags


def _named(number: int) -> str:
    try:
        fd = objects.program_fd(number)
    except OSError:
        return f"program {number}"
    try:
        return f"program {number} {objects.program_info(fd).name!r}"
    finally:
        os.close(fd)
