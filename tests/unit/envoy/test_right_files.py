"""Files are looked at in turn, and whatever was done to one is seen."""

from pathlib import Path

import pytest

from consul_ebpf.envoy.digests import Digests
from consul_ebpf.envoy.right_files import (
    AT_LEAST,
    LOOK,
    LOOK_BYTES,
    SLICES,
    RightFiles,
)

NAMES = ("bootstrap.json", "token.json")


class Directories:
    """Each proxy's is named like its key."""

    def __init__(self, top: Path, count: int) -> None:
        self._top = top
        self._count = count

    def keys(self) -> list[str]:
        return [f"p{n}" for n in range(self._count)]

    def directory_of(self, key: str) -> str:
        return f"{self._top}/{key}"


def made(directory: Path, count: int) -> RightFiles:
    digests = Digests({LOOK: LOOK_BYTES})
    right = RightFiles(NAMES, digests, Directories(directory, count))
    for n in range(count):
        (directory / f"p{n}").mkdir()
        (directory / f"p{n}" / NAMES[0]).write_text("right")
        right.keep(f"p{n}")
    return right


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("wrong"),
        lambda path: path.chmod(0o604),
        lambda path: path.with_name(NAMES[1]).write_text("one more"),
        lambda path: path.rename(path.with_name("elsewhere")),
    ],
)
def test_whatever_is_done_to_a_file_is_seen(tmp_path: Path, harm: object) -> None:
    """Until it is said to be right again, or nobody's any more."""
    right = made(tmp_path, 3)
    assert right.next_wrong() is None
    harm(tmp_path / "p1" / NAMES[0])  # type: ignore[operator]
    looks = [right.next_wrong(), right.next_wrong()]
    assert [{"p1"}, {"p1"}] == [set(each.keys) for each in looks if each]
    assert looks[0] != looks[1], "each is news"
    right.keep("p1")
    assert right.next_wrong() is None
    (tmp_path / "p2" / NAMES[0]).unlink()
    right.forget("p2")
    assert right.next_wrong() is None


def test_each_look_is_a_slice_and_all_have_their_turn() -> None:
    """So that a look costs little, however many there are."""
    looked: list[str] = []

    def lstat(path: str) -> None:
        looked.append(path.split("/")[-2])
        raise FileNotFoundError

    directories = Directories(Path("/run"), AT_LEAST * SLICES * 2)
    many = directories.keys()
    digests = Digests({LOOK: LOOK_BYTES})
    right = RightFiles(NAMES[:1], digests, directories, lstat)  # type: ignore[arg-type]
    for each in many:
        right.keep(each)
    looked.clear()
    for _ in range(SLICES):
        before = len(looked)
        assert right.next_wrong() is None
        assert len(looked) - before <= len(many) // SLICES + 1
    assert set(looked) == set(many)
