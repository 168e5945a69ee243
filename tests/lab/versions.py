"""Another version of this program: its source with the tables' layout raised.

What an upgrade to it and a downgrade from it meet is real: other code, other rows, in
a process of its own.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import consul_ebpf
from consul_ebpf.kernel.program import CONNECT


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
    # Not the current directory, which may hold this version.
    return {"PYTHONPATH": str(directory), "PYTHONSAFEPATH": "1"}


def _edit(path: Path, pattern: str, new: Callable[[re.Match[str]], str]) -> None:
    text, count = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{path} is no longer as this expects: {pattern}"
    path.write_text(text)
