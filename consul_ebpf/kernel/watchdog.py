"""The watchdog: checks that links and pins are in their places, and puts them back.

It uses the descriptors that the start opened, and needs no capability. An object lives
as long as somebody has a descriptor of it, so only its place can be lost: its pin, or
where it was attached.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.installed import Installed
from consul_ebpf.kernel.links import attach
from consul_ebpf.kernel.maps import Map
from consul_ebpf.kernel.mountinfo import kind_at, mounts
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.model.errors import ConsulEbpfError, KernelError


def mend(pins: Pins, installed: Installed) -> tuple[str, ...]:
    """Put back what is missing.

    Returns:
        A line for each thing that was put back.

    Raises:
        KernelError: something cannot be put back now, and nothing else was.
    """
    mended: list[str] = []
    problems: list[str] = []
    for part in (_attached, _pinned):
        try:
            mended += part(pins, installed)
        except ConsulEbpfError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{pins.root}: {error}")
    if problems and not mended:  # else the next round raises them
        raise KernelError("; ".join(problems))
    return tuple(mended)


def _attached(pins: Pins, installed: Installed) -> Iterator[str]:
    """Attach every hook again that is not attached, or not with our program."""
    cgroup = installed.cgroup
    try:
        wanted = cgroup.stat().st_ino
    except OSError as error:
        raise KernelError(
            f"{cgroup}, where the program was attached, is gone ({error.strerror}): "
            "nothing is redirected there; attached again when it is back"
        ) from error
    for hook, link in list(installed.links.items()):
        info = objects.link_info(link)
        program = installed.programs[hook]
        if info.cgroup_id != wanted:
            kind = pins.program.hooks[hook]
            installed.links[hook] = attach(program, hook, kind, cgroup)
            os.close(link)
            yield f"{hook} was no longer attached at {cgroup}: attached it again"
        elif info.program_id != objects.program_info(program).id:
            libbpf.link_update(link, program)
            yield f"{hook} had another program (id {info.program_id}): put ours back"


def _pinned(pins: Pins, installed: Installed) -> Iterator[str]:
    """Make our directory again, and the pins in it that are missing."""
    if not pins.in_place():
        if kind_at(pins.bpffs.resolve(), mounts()) != "bpf":
            raise KernelError(
                f"{pins.bpffs} is no BPF file system any more: redirecting goes on "
                f"while this controller runs; mount -t bpf bpf {pins.bpffs}"
            )
        pins.lock()
        yield f"{pins.root} was gone: made it again"
    pins.current.mkdir(mode=0o700, exist_ok=True)
    for name, table in installed.tables.items():
        if _map_id(pins.current / name) != table.info.id:
            pins.replace(name, table.fd)
            yield f"the pin of {name} was gone from {pins.current}: pinned it again"
    for hook, link in installed.links.items():
        if _link_id(pins.current / hook) != objects.link_info(link).id:
            pins.replace(hook, link)
            yield f"the pin of {hook} was not our link's: pinned it again"


def _map_id(path: Path) -> int | None:
    try:
        opened = Map.pinned(path)
    except OSError as error:
        _unless_gone(error)
        return None
    opened.close()
    return opened.info.id


def _link_id(path: Path) -> int | None:
    try:
        fd = libbpf.obj_get(path)
    except OSError as error:
        _unless_gone(error)
        return None
    try:
        return objects.link_info(fd).id
    finally:
        os.close(fd)


def _unless_gone(error: OSError) -> None:
    """Raise an error that says nothing of the pin: there was no free descriptor."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        raise error
