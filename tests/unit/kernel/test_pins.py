"""Our directory: who holds it, and what becomes of an unfinished start. Any file
system will do for that."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf import AlreadyRunningError, BpffsError
from consul_ebpf.kernel.codec import LAYOUT
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT


def test_naming_the_paths_touches_nothing(tmp_path: Path) -> None:
    """The version of the tables' layout is in them."""
    pins = Pins(tmp_path)
    assert tmp_path / "consul-ebpf" / f"v{LAYOUT}" == pins.current
    assert pins.holder() is None
    assert [] == list(tmp_path.iterdir())


def test_another_program_has_a_directory_of_its_own(tmp_path: Path) -> None:
    """With its own lock; what its links are called is its own, too."""
    other = replace(CONNECT, name="other", layout=5, hooks={"sendmsg4": 14})
    with Pins(tmp_path) as ours, Pins(tmp_path, other) as theirs:
        (ours.new_staging() / "connect4").touch()
        assert theirs.current == tmp_path / "other" / "v5"
        (theirs.new_staging() / "sendmsg4").touch()
        assert theirs.remove()
    assert [ours.root] == list(tmp_path.iterdir())


def test_there_is_one_writer(tmp_path: Path) -> None:
    """The second is told who the first is, and may write when it is gone."""
    with Pins(tmp_path) as first:
        assert os.getpid() == Pins(tmp_path).holder()
        with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}") as refused:
            Pins(tmp_path).lock()
        assert 4 == refused.value.exit_code
        assert 0o700 == first.root.stat().st_mode & 0o777
    assert Pins(tmp_path).holder() is None
    with Pins(tmp_path):
        pass


def test_the_lock_does_not_outlive_its_holder_in_a_child(tmp_path: Path) -> None:
    """The loader's child inherits no descriptor that would keep others out."""
    with Pins(tmp_path) as pins:
        assert not os.get_inheritable(pins._lock)


def test_a_bpffs_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As the directory that cannot be made."""
    with pytest.raises(BpffsError, match="none/consul-ebpf cannot be made"):
        Pins(tmp_path / "none").lock()


def test_publishing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """What was staged appears under its name, and staging is gone."""
    with Pins(tmp_path) as pins:
        (pins.new_staging() / "servers").touch()
        assert not pins.current.exists()
        pins.publish()
        assert ["servers"] == [path.name for path in pins.current.iterdir()]
        assert not pins.staging.exists()


def test_an_unfinished_start_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    """Staging begins empty."""
    with Pins(tmp_path) as pins:
        (pins.new_staging() / "servers").touch()
        assert [] == list(pins.new_staging().iterdir())
        pins.discard_staging()
        pins.discard_staging()  # there is none: fine
        assert not pins.staging.exists()


def test_removing_takes_everything_of_every_version(tmp_path: Path) -> None:
    """And says whether there was anything."""
    assert not Pins(tmp_path).remove()
    with Pins(tmp_path) as pins:
        (pins.new_staging() / "connect4").touch()
        (pins.root / "v0").mkdir()
        (pins.root / "v0" / "connect6").touch()
        assert pins.remove()
    assert [] == list(tmp_path.iterdir())


def test_publishing_again_retires_the_last(tmp_path: Path) -> None:
    """It is still to be found by name until the new one is there."""
    with Pins(tmp_path) as pins:
        (pins.new_staging() / "old").touch()
        pins.publish()
        (pins.new_staging() / "new").touch()
        pins.publish()
        assert ["new"] == [path.name for path in pins.current.iterdir()]
        assert ["old"] == [path.name for path in pins.retired.iterdir()]
        pins.remove_old()
        assert [pins.current] == list(pins.root.iterdir())


def test_what_is_found_is_ours_or_else_the_newest(tmp_path: Path) -> None:
    """Whatever a kill left between two renames."""
    pins = Pins(tmp_path)
    assert pins.found() is None
    for name in ("v0", "v10", "v9", "vain", "staging", "aside"):
        (pins.root / name).mkdir(parents=True)
    assert pins.found() == pins.root / "v10"
    pins.retired.mkdir()
    assert pins.found() == pins.retired
    pins.current.mkdir()
    assert pins.found() == pins.current


def test_a_directory_that_was_swapped_is_noticed(tmp_path: Path) -> None:
    """Removed, or made again by somebody: it is not the one we locked."""
    with Pins(tmp_path) as pins:
        assert pins.in_place()
        pins.root.rmdir()
        assert not pins.in_place()
        pins.root.mkdir()
        (pins.root / "x").mkdir()  # so that the inode is not the freed one by chance
        pins.lock()
        assert pins.in_place()


def test_fault_106_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    """Who may open it could hold this host's lock."""
    (tmp_path / "consul-ebpf").mkdir(mode=0o755)
    with Pins(tmp_path) as pins:
        assert 0o700 == pins.root.stat().st_mode & 0o777


def test_fault_106_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """It may lead anywhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "consul-ebpf").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BpffsError, match="cannot be made"):
        Pins(tmp_path).lock()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another's directory")
def test_fault_106_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """By name, with what to do; neither locked nor read."""
    theirs = tmp_path / "consul-ebpf"
    (theirs / f"v{LAYOUT}").mkdir(parents=True)
    os.chown(theirs, 4242, 4242)
    for use in (Pins(tmp_path).lock, Pins(tmp_path).open_tables):
        with pytest.raises(BpffsError, match=r"user 4242.*mode=700"):
            use()
    assert Pins(tmp_path).holder() is None
