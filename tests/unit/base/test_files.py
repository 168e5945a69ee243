"""write_atomically: old or new, never in between, never somewhere else."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consul_ebpf.base.files import write_atomically
from consul_ebpf.model.errors import ConsulEbpfError

ROOT = Path(__file__).parents[3]


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_replaces_the_file(tmp_path: Path) -> None:
    """A reader that has the old one open keeps it whole."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("wanted", [0o600, 0o644])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_mode_is_exact(tmp_path: Path, wanted: int, umask: int) -> None:
    """Neither the umask nor the old file's mode counts."""
    path = tmp_path / "f"
    path.write_bytes(b"")
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        write_atomically(path, b"", mode=wanted)
    finally:
        os.umask(before)
    assert wanted == path.stat().st_mode & 0o7777


def test_link_is_replaced(tmp_path: Path) -> None:
    """What it leads to stays."""
    other = tmp_path / "other"
    other.write_bytes(b"somebody's")
    path = tmp_path / "f"
    path.symlink_to(other)
    write_atomically(path, b"new")
    assert other.read_bytes() == b"somebody's"
    assert not path.is_symlink()


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing half written beside it."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ConsulEbpfError, match=r"cannot write '.*/f': File too"):
            write_atomically(path, b"x" * 8192)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_killed_midway_leaves_the_old_file(tmp_path: Path) -> None:
    """SIGKILL while the new content is being written."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    # The kernel kills the writer as the file grows over the limit.
    writer = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from consul_ebpf.base.files import write_atomically\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "write_atomically(Path(sys.argv[1]), b'x' * 8192)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", writer, path], check=False, env={"PYTHONPATH": str(ROOT)}
    )
    assert ended.returncode == -signal.SIGXFSZ
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2, "was not killed midway"


@pytest.mark.parametrize(
    ("name", "cause"),
    [("no/f", "No such file"), ("a\0b", "null "), ("y" * 300, "name too long")],
)
def test_errors_name_the_path_and_the_cause(
    tmp_path: Path, name: str, cause: str
) -> None:
    """On one line."""
    with pytest.raises(ConsulEbpfError) as caught:
        write_atomically(tmp_path / name, b"")
    assert cause in str(caught.value)
    assert str(caught.value).isprintable()
