"""The limit of inotify instances: read, raised, compared with what Envoys take."""

from pathlib import Path

import pytest

from consul_ebpf.kernel.inotify import OTHERS, Room, raise_limit, read_limit
from consul_ebpf.model.errors import KernelError


@pytest.mark.parametrize(
    ("limit", "proxies", "each", "enough"),
    [
        (128, 128 - OTHERS, 1, True),
        (128, 129 - OTHERS, 1, False),
        (128, 40, 2, False),
        (128, 10_000, 0, True),
        (0, 0, 1, False),
    ],
)
def test_fault_112_room(limit: int, proxies: int, each: int, *, enough: bool) -> None:
    """Others of the user's programs keep some; Envoys that watch nothing need none."""
    room = Room(limit, proxies, each)
    assert enough == room.enough
    assert Room(room.better, proxies, each).enough


def test_it_is_read_and_raised(tmp_path: Path) -> None:
    """As the kernel's file holds it."""
    path = tmp_path / "limit"
    path.write_text("128\n")
    raise_limit(256, path)
    assert read_limit(path) == 256


def test_a_limit_that_cannot_be_told_or_raised(tmp_path: Path) -> None:
    """One error of ours, by the sysctl's name."""
    with pytest.raises(KernelError, match=r"cannot read fs\.inotify"):
        read_limit(tmp_path / "none")
    with pytest.raises(KernelError, match=r"cannot raise fs\.inotify"):
        raise_limit(1, tmp_path)
