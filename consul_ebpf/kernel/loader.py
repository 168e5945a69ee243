"""Runs the loader child, and turns its answer into an error if there is one."""

import errno
import glob
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.steps import step
from consul_ebpf.kernel import capabilities
from consul_ebpf.kernel.program import Program
from consul_ebpf.model.errors import (
    ConsulEbpfError,
    KernelError,
    LoaderError,
    PrivilegeError,
)

log = logging.getLogger(__name__)

LOAD_SECONDS = 60.0
"""How long a load may take; it usually takes less than one second."""

_DISTRIBUTION_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python")
"""The Pythons that BCC is installed for, if ours is a virtual environment or newer."""

_NO_BCC = {"import", "gone", "crash"}
"""Kinds of an interpreter's answer after which the next interpreter is tried."""


def load_program(
    program: Program,
    defines: Mapping[str, int],
    tables: Path,
    handed: Path,
    *,
    pythons: Iterable[str] | None = None,
    seconds: float = LOAD_SECONDS,
) -> None:
    """Compile and load a program.

    Args:
        program: its source, hooks and tables.
        defines: constants that it is compiled with, by name.
        tables: directory in bpffs in which its tables are pinned.
        handed: directory in bpffs to pin its functions in, by the hooks' names.
        pythons: interpreters to try; None: those of `interpreters`.
        seconds: how long each interpreter may take.

    Raises:
        LoaderError: BCC is missing, or the program did not compile or load.
        PrivilegeError: a capability is missing.
        KernelError: anything else the kernel refused.
    """
    step("load the program")
    job = {
        "source": str(program.source),
        "defines": dict(defines),
        "hooks": dict(program.hooks),
        "tables": {name: str(tables / name) for name in program.tables},
        "programs": str(handed),
    }
    answer, stderr = _ask_loader(job, pythons, seconds)
    if answer:
        if os.strerror(errno.EINVAL) in answer["message"]:
            answer["message"] += f"; {program.needs}"
        raise explain(answer, stderr, capabilities.effective())


def bcc_version() -> str:
    """Return the version of the BCC the loader finds.

    Raises:
        LoaderError: it finds none.
    """
    answer, stderr = _ask_loader(None)
    if "version" not in answer:
        raise explain(answer, stderr, capabilities.effective())
    return str(answer["version"])


def _ask_loader(
    job: dict[str, Any] | None,
    pythons: Iterable[str] | None = None,
    seconds: float = LOAD_SECONDS,
) -> tuple[dict[str, Any], str]:
    """Run the child with the first interpreter that has BCC.

    Returns:
        Its answer and its stderr.
    """
    answer: dict[str, Any] = {}
    stderr = ""
    tried: list[str] = []
    for python in interpreters() if pythons is None else pythons:
        answer, stderr = _run(python, job, seconds)
        if answer.get("kind") not in _NO_BCC:
            return answer, stderr
        tried.append(f"{python}: {one_line(answer['message'], 200)}")
    return {"kind": "import", "message": "; ".join(tried) or "there is none"}, stderr


def interpreters() -> list[str]:
    """Return the Pythons that may have BCC: ours, then the distribution's own."""
    newest = sorted(
        glob.glob("/usr/bin/python3.[0-9]*[0-9]"),  # noqa: PTH207  # as strings
        key=lambda path: [int(number) for number in re.findall(r"\d+", path)],
        reverse=True,
    )
    found: dict[str, str] = {}
    for python in (sys.executable, *_DISTRIBUTION_PYTHONS, *newest):
        if python and os.access(python, os.X_OK):
            # A virtual environment's Python is a link to the one it was made with.
            same = python if python == sys.executable else os.path.realpath(python)
            found.setdefault(same, python)
    return list(found.values())


def _run(
    python: str, job: dict[str, Any] | None, seconds: float
) -> tuple[dict[str, Any], str]:
    """Run the child with one interpreter; returns its answer and its stderr."""
    ours = python == sys.executable
    env = dict(os.environ)
    if not ours:  # what is set for our interpreter would mislead another
        for name in [name for name in env if name.startswith("PYTHON")]:
            del env[name]
    try:
        child = subprocess.run(
            [python, str(Path(__file__).with_name("loader_child.py"))],
            input=json.dumps(job).encode(),
            env=env,
            cwd="/",  # so that no module of the current directory is imported
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"{python} had not loaded it after {seconds:g} s"
        return {"kind": "bcc", "message": message}, ""
    except (OSError, ValueError) as error:
        return {"kind": "gone", "message": f"it cannot be started: {error}"}, ""
    stderr = child.stderr.decode(errors="replace")
    try:
        return dict(json.loads(child.stdout)), stderr
    except (ValueError, TypeError):
        last = one_line((stderr.strip().splitlines() or [""])[-1], 200)
        message = f"the loader ended with {child.returncode} {last}".strip()
        return {"kind": "crash", "message": message}, stderr


def explain(
    answer: dict[str, Any], stderr: str, have: frozenset[str]
) -> ConsulEbpfError:
    """Turn the child's answer into one of our errors; pure but for the debug log.

    Args:
        answer: its `kind`, `message` and perhaps `errno`.
        stderr: what it and BCC wrote there.
        have: what this process has, as `capabilities.effective` names them.
    """
    message = one_line(answer["message"])
    telling = [line for line in stderr.splitlines() if "error" in line.lower()]
    detail = f" ({one_line(telling[-1])})" if telling else ""
    log.debug("loader said: %s", stderr)
    if answer["kind"] == "import":
        return LoaderError(
            f"BCC cannot be used ({message}): install the distribution's "
            "(Debian, Ubuntu: apt-get install python3-bpfcc; RHEL, Fedora, Amazon "
            "Linux: dnf install python3-bcc)"
        )
    missing = {"sys_admin"} - have
    if missing and (
        answer.get("errno") in (errno.EPERM, errno.EACCES) or answer["kind"] == "bcc"
    ):
        named = ", ".join(sorted(f"CAP_{name.upper()}" for name in missing))
        return PrivilegeError(
            f"loading and attaching the program needs {named}: run as root, or grant "
            f"them in the unit file ({message})"
        )
    if answer["kind"] == "bcc":
        return LoaderError(f"the program was not loaded: {message}{detail}")
    return KernelError(f"loading the program failed: {message}")
