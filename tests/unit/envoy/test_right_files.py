"""Files are looked at in turn, and whatever was done to one is seen."""

from pathlib import Path

import pytest

from consul_ebpf.envoy.right_files import AT_LEAST, SLICES, RightFiles

NAMES = ("bootstrap.json", "token.json")


def made(directory: Path, count: int) -> RightFiles:
    right = RightFiles(NAMES, lambda key: f"{directory}/{key}")
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

    right = RightFiles(NAMES[:1], lambda key: f"/run/{key}", lstat)  # type: ignore[arg-type]
    many = [f"p{n}" for n in range(AT_LEAST * SLICES * 2)]
    for each in many:
        right.keep(each)
    looked.clear()
    for _ in range(SLICES):
        before = len(looked)
        assert right.next_wrong() is None
        assert len(looked) - before <= len(many) // SLICES + 1
    assert set(looked) == set(many)
