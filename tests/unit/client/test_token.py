"""Tokens: asked for each time, never shown."""

import logging
from pathlib import Path

import pytest

from consul_ebpf.client.token import StaticToken, TokenFile, no_token
from consul_ebpf.model.errors import ConsulError

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
    assert len(caplog.messages) == (0 if content == "" else 1)
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


def test_no_repr_shows_a_token(path: Path) -> None:
    """Reprs end in logs."""
    token = TokenFile(path)
    token()
    assert SECRET not in repr(token) + repr(StaticToken(SECRET))
