"""What Consul's answers and the bearer token's file say."""

from pathlib import Path

import pytest

from consul_ebpf.client.acl import MAX_BEARER, read_bearer, unix_time
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.tokens.life import renew_in


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


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"\xff", b"x" * 70000])
def test_what_is_no_bearer_token(tmp_path: Path, content: bytes) -> None:
    """Said by the file's name, without what is in it."""
    file = tmp_path / "jwt"
    file.write_bytes(content)
    with pytest.raises(ConsulError, match="holds no bearer token") as caught:
        read_bearer(str(file))
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_bearer_token_that_is_not_there(tmp_path: Path) -> None:
    """Said so."""
    with pytest.raises(ConsulError, match="No such file"):
        read_bearer(str(tmp_path / "none"))


def test_a_bearer_token(tmp_path: Path) -> None:
    """Without the newline that editors put there."""
    file = tmp_path / "jwt"
    file.write_text("a.b.c\n")
    assert read_bearer(str(file)) == "a.b.c"
    file.write_text("x" * MAX_BEARER)
    assert len(read_bearer(str(file))) == MAX_BEARER


def test_when_a_token_is_replaced() -> None:
    """Between half of its life and six tenths; at once when that is over."""
    assert renew_in(0, 0, 100, 0) == pytest.approx(60)
    assert renew_in(0, 0, 100, 1) == pytest.approx(50)
    assert renew_in(70, 0, 100, 0) == 0
    assert renew_in(0, 0, None, 0.5) == float("inf")
