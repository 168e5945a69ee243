"""What a run was measured on: the machine, and the version of each part."""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def machine() -> dict[str, str]:
    """Describe this machine, as it is when the run begins."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s+: (.*)", Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 1024**2:.0f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "load when it began": f"{load[0]:.1f}",
    }


def versions(programs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return each part's version.

    Args:
        programs: by name the command that prints its version in the first line that
            has one; those that cannot be run are left out.
    """
    found = {"consul_ebpf": commit(), "Python": platform.python_version()}
    for name in ("grpcio", "aiohttp"):
        found[name] = importlib.metadata.version(name)
    for name, command in programs.items():
        if version := _version_of(command):
            found[name] = version
    return found


def commit() -> str:
    """Return the commit that is checked out, with `-dirty` if files were changed."""
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    return _output([*git, "describe", "--always", "--dirty"]).strip() or "unknown"


def _version_of(command: Sequence[str]) -> str:
    said = _output(command).replace(command[0], "")  # a path may have numbers, too
    found = re.search(r"\d+\.\d+(\.\d+)?[-\w.+]*", said)
    return found[0] if found else ""


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout or done.stderr
