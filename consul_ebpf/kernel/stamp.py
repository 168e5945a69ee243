"""The stamp of the attached programs: what they were compiled from.

A start need not compile what is attached already. The stamp is a symbolic link beside
the pins, since a bpffs has no files, and its text is a digest of sources and constants
with the programs' tags: the kernel's own digests of their instructions. So it holds for
these programs alone. If another version has put its own in their place, or the stamp is
lost, the next start compiles.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from consul_ebpf.base.steps import step
from consul_ebpf.kernel import objects
from consul_ebpf.kernel.program import Program
from consul_ebpf.kernel.tables import Tables

NAME = "compiled"
"""Of the link in the directory of the pins. A bpffs allows no dot in it."""


def attached_programs(
    program: Program,
    defines: Mapping[str, int],
    directory: Path,
    links: Mapping[str, int],
    tables: Tables,
) -> dict[str, int]:
    """Open the attached programs, if compiling would only make the same again.

    Args:
        program: what would be compiled.
        defines: constants that it is compiled with, by name.
        directory: of the pins.
        links: descriptors, by hook.
        tables: what the programs are to use.

    Returns:
        Descriptors by hook; empty: something differs, or cannot be told.
    """
    with ExitStack() as undo, contextlib.suppress(OSError, KeyError):
        found: dict[str, int] = {}
        ours = {table.info.id for table in tables.values()}
        for name in program.hooks:
            fd = objects.program_fd(objects.link_info(links[name]).program_id)
            undo.callback(os.close, fd)
            found[name] = fd
            if not ours.issuperset(objects.program_info(fd).maps):
                return {}
        if os.readlink(directory / NAME) == _text(program, defines, found):  # noqa: PTH115  # any text
            undo.pop_all()
            return found
    return {}


def write_stamp(
    program: Program,
    defines: Mapping[str, int],
    directory: Path,
    programs: Mapping[str, int],
) -> None:
    """Stamp these programs, which were compiled and are attached now."""
    fresh = directory / f"{NAME}-new"
    with contextlib.suppress(OSError):  # without it the next start compiles again
        step("stamp")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(_text(program, defines, programs))
        fresh.rename(directory / NAME)


def _text(
    program: Program, defines: Mapping[str, int], programs: Mapping[str, int]
) -> str:
    digest = hashlib.sha256()
    sources = program.source.parent
    for path in sorted(each for each in sources.rglob("*") if each.is_file()):
        digest.update(f"{path.relative_to(sources)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    made = (program.source.name, sorted(program.hooks.items()), sorted(defines.items()))
    digest.update(repr(made).encode())
    tags = [objects.program_info(programs[name]).tag for name in sorted(programs)]
    return "-".join([digest.hexdigest(), *tags])
