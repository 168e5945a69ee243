"""Other versions of this program, each in a process of its own.

The next one is this one's source with the tables' layout raised: other code, other
rows. The one before is taken from git.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import consul_ebpf
from consul_ebpf.kernel.program import CONNECT

ROOT = Path(__file__).parents[2]


def next_version(directory: Path) -> dict[str, str]:
    """Write the next version below `directory`; return the environment to run it in.

    Each VIP's row has eight bytes more, and the layout is one higher.
    """
    ignored = shutil.ignore_patterns("__pycache__", "bpf")
    package = directory / "consul_ebpf"
    shutil.copytree(Path(consul_ebpf.__file__).parent, package, ignore=ignored)
    shutil.copytree(CONNECT.source.parent, directory / "bpf")
    codec = package / "kernel" / "codec.py"
    _edit(codec, r"^LAYOUT = (\d+)$", lambda found: f"LAYOUT = {int(found[1]) + 1}")
    _edit(codec, r'(QQQII)("\)  # struct vip)', lambda found: f"{found[1]}8x{found[2]}")
    _edit(
        directory / "bpf" / "tables.h",
        r"(u32 failures; /\* connects followed .*\n)(?=};\n\n/\* BPF_F)",
        lambda found: f"{found[1]}  u64 more;\n",
    )
    return _environment(directory)


def version_before(directory: Path) -> dict[str, str]:
    """Write the version before below `directory`; return the environment to run it in.

    It is the commit that CONSUL_EBPF_BEFORE names, else the last one tagged, else the
    one before this one.

    Raises:
        LookupError: there is no such commit, or no git.
    """
    named = os.environ.get("CONSUL_EBPF_BEFORE")
    try:
        commit = named or _git("describe", "--tags", "--abbrev=0", "HEAD~1").decode()
    except LookupError:
        commit = "HEAD~1"
    archive = _git("archive", "--format=tar", commit.strip(), "consul_ebpf", "bpf")
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
    return _environment(directory)


def _git(*arguments: str) -> bytes:
    # The checkout may be somebody else's than whoever runs the tests.
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        raise LookupError("no git") from error
    except subprocess.CalledProcessError as error:
        raise LookupError(error.stderr.decode(errors="replace").strip()) from error


def _environment(directory: Path) -> dict[str, str]:
    # Not the current directory, which may hold this version.
    return {"PYTHONPATH": str(directory), "PYTHONSAFEPATH": "1"}


def _edit(path: Path, pattern: str, new: Callable[[re.Match[str]], str]) -> None:
    text, count = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{path} is no longer as this expects: {pattern}"
    path.write_text(text)
