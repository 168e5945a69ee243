"""Installs a program: its tables and links, whatever an earlier process left behind.

1. If the pinned tables have this layout and size, they are used. Else new ones are made
   in staging, and filled from the tables that the attached program uses.
2. The program is loaded for these tables, unless the attached one is the same. Until
   then nothing that runs is touched, and an error leaves everything as it was.
3. Each link gets the new program, in one step. If a hook has no link, or its link was
   severed or is at another cgroup, a new link is made first.

If this process is killed at any moment, the old program or the new one is attached,
each with filled tables, and the next start continues from there.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from consul_ebpf.kernel import capabilities, libbpf, objects
from consul_ebpf.kernel.installed import Installed
from consul_ebpf.kernel.links import attach
from consul_ebpf.kernel.loader import load_program
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import Program
from consul_ebpf.kernel.remains import Remains, look_for_remains
from consul_ebpf.kernel.stamp import attached_programs, write_stamp
from consul_ebpf.kernel.tables import (
    Rows,
    Tables,
    carry,
    close_tables,
    make_tables,
    open_tables,
)
from consul_ebpf.model.errors import KernelError, KernelFeatureError, PrivilegeError


def install(pins: Pins, cgroup: Path, defines: Mapping[str, int]) -> Installed:
    """Install the program whose pins these are; see above.

    Args:
        pins: the program's, locked.
        cgroup: where to attach it.
        defines: constants that it is compiled with, by name.

    Raises:
        UnsupportedError: a privilege or a kernel feature is missing.
        ConfigError: more proxies are in the table than the new one is to hold.
        KernelError: other programs are in the way.
    """
    with ExitStack() as stack:
        stack.callback(pins.discard_staging)
        staging = pins.new_staging()
        left = look_for_remains(pins)
        stack.callback(left.close)
        tables, carried = _tables(pins, left)
        undo = stack.enter_context(ExitStack())
        undo.callback(close_tables, tables)
        at = pins.current if left.usable else staging
        programs = _attached(pins, defines, left)
        programs = programs or load(pins.program, defines, at, staging)
        undo.callback(_close, programs)
        links = _links(pins.program, cgroup, programs, left)
        undo.callback(_close, links)
        _place(pins, left, links)
        for name, link in links.items():
            libbpf.link_update(link, programs[name])
        if left.source is not None and not (left.usable and left.switched):
            # What the old program has counted meanwhile.
            carry(pins.program, left.source, tables, carried)
        pins.remove_old()
        write_stamp(pins.program, defines, pins.current, programs)
        undo.pop_all()
        return Installed(cgroup, tables, programs, links)


def _tables(pins: Pins, left: Remains) -> tuple[Tables, Rows]:
    """Open the tables to use, or make them; return them and the rows carried over."""
    if left.usable:
        return open_tables(pins.program, pins.current), {}
    try:
        tables = make_tables(pins.program, pins.staging, left.source)
    except OSError as error:
        refused = error.errno in (errno.EPERM, errno.EACCES)
        if refused and "sys_admin" not in capabilities.effective():
            raise PrivilegeError(
                "making the tables needs CAP_SYS_ADMIN: run as root, or grant it "
                f"in the unit file ({error.strerror})"
            ) from error
        if error.errno == errno.EINVAL:
            raise KernelFeatureError(
                f"the tables cannot be made: {error.strerror}; {pins.program.needs}"
            ) from error
        raise KernelError(
            f"the tables cannot be made: {error.strerror}; on kernels before 5.11 "
            "raise LimitMEMLOCK, else lower kernel.max_proxies"
        ) from error
    if left.source is None:
        return tables, {}
    try:
        return tables, carry(pins.program, left.source, tables, {})
    except BaseException:
        close_tables(tables)
        raise


def _attached(pins: Pins, defines: Mapping[str, int], left: Remains) -> dict[str, int]:
    """Open the attached programs; empty: others have to be loaded."""
    if left.tables is None or not (left.usable and left.switched):
        return {}
    return attached_programs(
        pins.program, defines, pins.current, left.links, left.tables
    )


def load(
    program: Program, defines: Mapping[str, int], tables: Path, staging: Path
) -> dict[str, int]:
    """Load a program for the tables pinned in `tables`.

    The loader pins its functions below `staging`; they are opened and unpinned here.

    Returns:
        Descriptors of the functions, by hook.

    Raises:
        ConsulEbpfError: as `load_program`.
    """
    handed = staging / "programs"
    handed.mkdir(mode=0o700)
    load_program(program, defines, tables, handed)
    programs = {}
    for name in program.hooks:
        programs[name] = libbpf.obj_get(handed / name)
        (handed / name).unlink()
    handed.rmdir()
    return programs


def _links(
    program: Program, cgroup: Path, programs: dict[str, int], left: Remains
) -> dict[str, int]:
    """Return a link at the cgroup for each hook: the one there is, or a new one."""
    links: dict[str, int] = {}
    wanted = cgroup.stat().st_ino
    try:
        for name, loaded in programs.items():
            link = left.links.get(name)
            if link is not None and objects.link_info(link).cgroup_id == wanted:
                links[name] = left.links.pop(name)
            else:
                links[name] = attach(loaded, name, program.hooks[name], cgroup)
    except BaseException:
        _close(links)
        raise
    return links


def _place(pins: Pins, left: Remains, links: dict[str, int]) -> None:
    """Pin the links beside the tables; new tables are published together with them."""
    if not left.usable:
        for name, link in links.items():
            libbpf.obj_pin(link, pins.staging / name)
        pins.publish(keep_old=left.damaged)
        return
    there = pins.open_links(pins.current)
    ids = {name: objects.link_info(fd).id for name, fd in there.items()}
    _close(there)
    for name, link in links.items():
        if ids.get(name) != objects.link_info(link).id:
            pins.replace(name, link)


def _close(descriptors: dict[str, int]) -> None:
    for fd in descriptors.values():
        os.close(fd)
    descriptors.clear()
