"""A file that somebody else replaces."""

import logging
import os
from pathlib import Path

import pytest

from consul_ebpf.base.watched import Watched
from consul_ebpf.model.errors import ConsulEbpfError


def number(data: bytes) -> int:
    text = data.decode("ascii")
    if not text.isdecimal():
        raise ValueError("holds no number")
    return int(text)


def watched(path: Path) -> Watched[int]:
    return Watched(path, number, limit=10, what="number file")


def replace(path: Path, data: bytes) -> None:
    (path.parent / "new").write_bytes(data)
    (path.parent / "new").replace(path)


def test_it_is_read_again_when_it_changed(tmp_path: Path) -> None:
    """Also when it is written in place."""
    path = tmp_path / "number"
    value = watched(path)
    path.write_bytes(b"1")
    assert value() == 1
    replace(path, b"2")
    assert value() == 2
    path.write_bytes(b"33")
    assert value() == 33


@pytest.mark.parametrize("bad", [b"", b"x", b"\xff\xfe1", b"12345678901"])
def test_the_last_good_one_is_kept(
    tmp_path: Path, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, and used again when it is good again."""
    path = tmp_path / "number"
    path.write_bytes(b"1")
    value = watched(path)
    assert value() == 1
    replace(path, bad)
    assert [1, 1, 1] == [value(), value(), value()]
    said = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1
    assert "keeping the last good one" in said[0].message
    replace(path, b"2")
    assert value() == 2


def test_a_first_bad_one_is_an_error(tmp_path: Path) -> None:
    """One line that names the file; a FIFO does not block."""
    path = tmp_path / "number"
    value = watched(path)
    with pytest.raises(ConsulEbpfError, match=r"number file .*No such file"):
        value()
    os.mkfifo(path)
    with pytest.raises(ConsulEbpfError, match="FIFO"):
        value()
    path.unlink()
    path.write_bytes(b"x")
    with pytest.raises(ConsulEbpfError, match="holds no number"):
        value()
    path.write_bytes(b"7")
    assert value() == 7
