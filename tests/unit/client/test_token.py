"""Tokens: asked for each time, never shown."""

import codecs
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consul_ebpf.client.acl import read_bearer
from consul_ebpf.client.token import (
    MAX_TOKEN_BYTES,
    StaticToken,
    TokenFile,
    no_token,
)
from consul_ebpf.model.errors import ConsulError
from tests.lab.no_files import directory, fifo, huge, listener, zero

SECRET = "5e17eca7-0000-0000-0000-000000000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    return path


def replace(path: Path, content: str | bytes) -> None:
    """As a rotation does: by rename."""
    new = path.with_suffix(".new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.replace(path)


def test_a_static_token_is_what_it_was_given() -> None:
    """An empty one is none."""
    assert StaticToken(SECRET)() == SECRET
    assert StaticToken("")() is None
    assert no_token() is None  # type: ignore[func-returns-value]


def test_a_file_is_read_without_its_line_end(path: Path) -> None:
    """An editor adds one."""
    assert TokenFile(path)() == SECRET


def test_a_file_is_read_again_when_it_changes(path: Path) -> None:
    """A rotation needs no restart."""
    token = TokenFile(path)
    token()
    replace(path, "new-secret")
    assert token() == "new-secret"


@pytest.mark.parametrize("content", [None, "", "two words", b"\xff\xfe"])
def test_fault_15_the_last_token_is_kept_while_the_file_is_no_good(
    path: Path, content: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is said at most once, without the file's content."""
    caplog.set_level(logging.INFO)
    token = TokenFile(path)
    token()
    if content is None:
        path.unlink()
    else:
        replace(path, content)
    assert token() == SECRET
    assert token() == SECRET
    assert len(caplog.messages) == 1
    assert "two words" not in caplog.text
    replace(path, "new-secret")
    assert token() == "new-secret"


@pytest.mark.parametrize("content", [None, "two words"])
def test_a_file_that_never_could_be_read_is_an_error(
    path: Path, content: str | None
) -> None:
    """One that may be over at the next request."""
    if content is None:
        path.unlink()
    else:
        replace(path, content)
    token = TokenFile(path)
    with pytest.raises(ConsulError, match=str(path)) as caught:
        token()
    assert "two words" not in str(caught.value)
    replace(path, SECRET)
    assert token() == SECRET


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (SECRET.encode("utf-16"), "is UTF-16"),
        (SECRET.encode("utf-16-le"), "is UTF-16"),
        (SECRET.encode("utf-16-be"), "is UTF-16"),
        (b"\xff", "is not UTF-8"),
        (b"two words", "more than one word"),
        (b"one\nmore", "more than one word"),
        ("one\u2028more".encode(), "more than one word"),
        (b"a\x1b[2Jb", "control character"),
        (b"a\x7fb", "control character"),
        ("\u00e4".encode(), "more than printable ASCII"),
        (b"x" * (MAX_TOKEN_BYTES + 1), "larger than"),
    ],
)
def test_fault_92_a_file_that_holds_no_token(
    path: Path, content: bytes, why: str
) -> None:
    """Said in plain words, without the content; a good one is taken up later."""
    path.write_bytes(content)
    token = TokenFile(path)
    with pytest.raises(ConsulError, match=why) as caught:
        token()
    said = str(caught.value)
    assert said.startswith(f"token file {path}: ")
    assert said.isprintable()
    assert len(said) < 300
    path.write_bytes(codecs.BOM_UTF8 + f"{SECRET}\r\n".encode())
    assert token() == SECRET


@pytest.mark.parametrize("make", [fifo, zero, huge, directory, listener])
def test_fault_93_what_is_no_file_is_no_token(
    path: Path, make: Callable[[Path], None]
) -> None:
    """Nothing waits, and nothing more than the limit is read; nor for a bearer's."""
    path.unlink()
    make(path)
    begun = time.monotonic()
    with pytest.raises(ConsulError, match=f"token file {path}: is "):
        TokenFile(path)()
    with pytest.raises(ConsulError, match=f"bearer token file {path}: is "):
        read_bearer(str(path))
    assert time.monotonic() - begun < 1


@pytest.mark.skipif(os.geteuid() != 0, reason="makes links of other users")
def test_fault_93_a_link_to_anothers_secret_is_not_followed(path: Path) -> None:
    """A workload that may write its token's path does not get root's secret."""
    link = path.parent / "link"
    link.symlink_to(path)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(ConsulError, match="user 65534 made the link") as caught:
        TokenFile(link)()
    assert SECRET not in str(caught.value)
    with pytest.raises(ConsulError, match="user 65534 made the link"):
        read_bearer(str(link))
    os.chown(path, 65534, 65534)
    assert TokenFile(link)() == read_bearer(str(link)) == SECRET


def test_no_repr_shows_a_token(path: Path) -> None:
    """Reprs end in logs."""
    token = TokenFile(path)
    token()
    assert SECRET not in repr(token) + repr(StaticToken(SECRET))
