"""The parent's side of the loader child: run it, and say what its answer means."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import consul_ebpf
from consul_ebpf.base.steps import step
from consul_ebpf.kernel import capabilities
from consul_ebpf.model.errors import (
    ConsulEbpfError,
    KernelError,
    LoaderError,
    PrivilegeError,
)

log = logging.getLogger(__name__)

_PACKAGE = Path(consul_ebpf.__file__).parent
_LOAD_TIMEOUT = 60.0  # seconds; a load takes under one
_DISTRIBUTION_PYTHON = "/usr/bin/python3"  # BCC's own, where ours is a venv without it


def source_path() -> Path:
    """Return the program's C source: beside the package, or in it when installed."""
    inside = _PACKAGE / "bpf" / "connect.c"
    return inside if inside.exists() else _PACKAGE.parent / "bpf" / "connect.c"


def load_program(job: dict[str, Any]) -> None:
    """Run the loader child; its `Job` as a dict.

    Raises:
        LoaderError: BCC is missing, or the program did not compile or load.
        PrivilegeError: a capability is missing.
        KernelError: anything else the kernel refused.
    """
    step("load the program")
    answer, stderr = _ask_loader(job)
    if answer:
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


def _ask_loader(job: dict[str, Any] | None) -> tuple[dict[str, Any], str]:
    """Run the child with the first interpreter that has BCC; (answer, its stderr)."""
    answer: dict[str, Any] = {}
    stderr = ""
    for python in dict.fromkeys((sys.executable, _DISTRIBUTION_PYTHON)):
        child = subprocess.run(
            [python, "-m", "consul_ebpf.kernel.loader_child"],
            input=json.dumps(job),
            env={**os.environ, "PYTHONPATH": str(_PACKAGE.parent)},
            cwd="/",  # what lies where we were started is not to be imported
            capture_output=True,
            text=True,
            timeout=_LOAD_TIMEOUT,
            check=False,
        )
        stderr = child.stderr
        if child.stdout:
            answer = json.loads(child.stdout)
        else:
            answer = {"kind": "bcc", "message": f"the loader ended {child.returncode}"}
        if answer.get("kind") != "import":
            break
    return answer, stderr


def explain(
    answer: dict[str, Any], stderr: str, have: frozenset[str]
) -> ConsulEbpfError:
    """Turn the child's answer into one of our errors; pure but for the debug log.

    Args:
        answer: its `kind`, `message` and perhaps `errno`.
        stderr: what it and BCC wrote there.
        have: what this process has, as `capabilities.effective` names them.
    """
    message = answer["message"]
    telling = [line for line in stderr.splitlines() if "error" in line.lower()]
    detail = f" ({telling[-1].strip()})" if telling else ""
    log.debug("loader said: %s", stderr)
    if answer["kind"] == "import":
        return LoaderError(
            f"BCC cannot be imported ({message}): apt-get install python3-bpfcc, and "
            "use the distribution's Python or a venv with --system-site-packages"
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
