"""The one reader of files that somebody else can write."""

import os
from pathlib import Path

import pytest

from consul_ebpf.base.reading import FileError, fingerprint, read_file

OTHER = 4711
"""A user who is neither root nor the file's owner."""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """With the fingerprint that a look at it gives."""
    path = tmp_path / "token"
    path.write_bytes(b"secret")
    content = read_file(path, 6)
    assert b"secret" == content.data
    assert fingerprint(path) == content.fingerprint


def test_a_larger_file_is_an_error_never_a_shorter_truth(tmp_path: Path) -> None:
    """One byte is enough."""
    path = tmp_path / "token"
    path.write_bytes(b"secret")
    with pytest.raises(FileError, match="larger than the 5 bytes"):
        read_file(path, 5)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/proc", "/"])
def test_what_is_no_file_is_refused_at_once(path: str) -> None:
    """Without opening it."""
    with pytest.raises(FileError, match=r"a regular file is needed|Is a directory"):
        read_file(path, 10)
    with pytest.raises(FileError, match="a regular file is needed"):
        fingerprint(path)


@pytest.mark.timeout(10)
def test_a_fifo_never_blocks(tmp_path: Path) -> None:
    """Nobody writes to it, ever."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(FileError, match="FIFO"):
        read_file(path, 10)
    with pytest.raises(FileError, match="FIFO"):
        read_file(link(tmp_path / "link", path), 10)


@pytest.mark.parametrize("path", ["/a\0b", "/a\ud800b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    """In one printable line."""
    with pytest.raises(FileError) as caught:
        read_file(path, 10)
    assert str(caught.value).isprintable()
    with pytest.raises(FileError):
        fingerprint(path)


def test_nothing_there_says_so(tmp_path: Path) -> None:
    """For whom a missing file is none of an error."""
    with pytest.raises(FileError) as caught:
        read_file(tmp_path / "token", 10)
    assert caught.value.missing
    with pytest.raises(FileError) as caught:
        read_file("/dev/null", 10)
    assert not caught.value.missing


def test_links_of_ones_own_are_followed(tmp_path: Path) -> None:
    """Relative, absolute, of directories, of links, and up again, as Kubernetes'."""
    (tmp_path / "..data_1").mkdir()
    (tmp_path / "..data_1" / "token").write_bytes(b"secret")
    link(tmp_path / "..data", Path("..data_1"))
    link(tmp_path / "token", Path("..data/token"))
    link(tmp_path / "far", tmp_path / ".." / tmp_path.name / "token")
    for name in ("token", "far", "..data/token", "..data/../far"):
        assert b"secret" == read_file(tmp_path / name, 10).data


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    """As the kernel does."""
    link(tmp_path / "a", Path("b"))
    link(tmp_path / "b", Path("a"))
    with pytest.raises(FileError, match="Too many levels"):
        read_file(tmp_path / "a", 10)


@root_only
def test_a_workloads_link_to_anothers_secret_is_refused(tmp_path: Path) -> None:
    """Also where a directory on the way is the link."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "token").write_bytes(b"secret")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name, target in (("token", secret / "token"), ("directory", secret)):
        made = link(theirs / name, target)
        os.chown(made, OTHER, OTHER, follow_symlinks=False)
    for path in (theirs / "token", theirs / "directory" / "token"):
        with pytest.raises(FileError, match=f"user {OTHER} made the link"):
            read_file(path, 10)


@root_only
def test_a_workloads_link_to_its_own_file_is_followed(tmp_path: Path) -> None:
    """And root's link to it, too."""
    path = tmp_path / "token"
    path.write_bytes(b"own")
    os.chown(path, OTHER, OTHER)
    theirs = link(tmp_path / "theirs", path)
    os.chown(theirs, OTHER, OTHER, follow_symlinks=False)
    assert b"own" == read_file(theirs, 10).data
    assert b"own" == read_file(link(tmp_path / "roots", path), 10).data


def test_the_root_of_a_process_is_followed(tmp_path: Path) -> None:
    """/proc/PID/root is no text: it leads where that process's files are."""
    path = tmp_path / "token"
    path.write_bytes(b"secret")
    assert b"secret" == read_file(f"/proc/{os.getpid()}/root{path}", 10).data


def link(path: Path, target: Path) -> Path:
    """Make a symbolic link."""
    path.symlink_to(target)
    return path
