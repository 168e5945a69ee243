"""What Consul's answers and the bearer token's file say."""

from pathlib import Path

import pytest

from consul_ebpf.client.acl import life_of, read_bearer, secret_of, unix_time
from consul_ebpf.client.token import MAX_TOKEN_BYTES
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.lifetime import FOREVER, Lifetime

MADE = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.5Z", 10.5),
        ("1970-01-01T00:00:10.123456789Z", 10.123456),
        ("1970-01-01T02:00:10.25+02:00", 10.25),
    ],
)
def test_consuls_times(text: str, expected: float) -> None:
    """Nine digits, any zone."""
    assert expected == unix_time(text)


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff", b"x" * 70000])
def test_what_is_no_bearer_token(tmp_path: Path, content: bytes) -> None:
    """Said by the file's name, without what is in it."""
    file = tmp_path / "jwt"
    file.write_bytes(content)
    with pytest.raises(ConsulError, match="bearer token file") as caught:
        read_bearer(str(file))
    assert str(file) in str(caught.value)
    assert "words" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_login_without_a_bearer_token() -> None:
    """Not a file called ""."""
    with pytest.raises(ConsulError, match="set bearer_token or bearer_token_file"):
        read_bearer("")


@pytest.mark.parametrize(
    "answer", [{}, [], None, 7, "x", {"SecretID": 5}, {"SecretID": ""}]
)
def test_fault_91_a_logins_answer_without_a_token(answer: object) -> None:
    """An error like any other, by where it came from."""
    with pytest.raises(ConsulError, match="at here: the login's answer holds no token"):
        secret_of(answer, "Consul at here")
    assert secret_of({"SecretID": "abc", "More": []}, "here") == "abc"


@pytest.mark.parametrize(
    "answer",
    [
        [],
        None,
        7,
        {},
        {"CreateTime": 1},
        {"CreateTime": MADE, "ExpirationTime": "x"},
        {"CreateTime": MADE, "ExpirationTime": "2025-01-01T00:00:00Z"},
    ],
)
def test_fault_91_a_token_described_otherwise(answer: object) -> None:
    """An error like any other."""
    with pytest.raises(ConsulError, match="a token's description"):
        life_of(answer)


def test_never_expires_is_an_answer() -> None:
    """Consul leaves the time out."""
    made = {"CreateTime": MADE}
    assert life_of(made) == FOREVER
    assert life_of({**made, "ExpirationTime": None}) == FOREVER
    ends = {**made, "ExpirationTime": "2026-01-01T00:01:00Z"}
    assert life_of(ends) == Lifetime(60)


def test_a_bearer_token_that_is_not_there(tmp_path: Path) -> None:
    """Said so."""
    with pytest.raises(ConsulError, match="No such file"):
        read_bearer(str(tmp_path / "none"))


def test_a_bearer_token(tmp_path: Path) -> None:
    """Without the newline that editors put there."""
    file = tmp_path / "jwt"
    file.write_text("a.b.c\n")
    assert read_bearer(str(file)) == "a.b.c"
    file.write_text("x" * MAX_TOKEN_BYTES)
    assert len(read_bearer(str(file))) == MAX_TOKEN_BYTES
