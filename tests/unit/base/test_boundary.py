"""Where an exception that is not ours becomes one of ours."""

import asyncio
import json

import pytest

from consul_ebpf.base.boundary import boundary
from consul_ebpf.model.errors import ConsulError, KernelError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("x\ny"), "Consul: KeyError: 'x\\ny'"),
        (OSError(2, "No such file"), "Consul: No such file"),
        (RecursionError("maximum ..."), "Consul: it is nested too deeply"),
        (ValueError(), "Consul: ValueError"),
        (ValueError("bad s3cret"), "Consul: ValueError: bad <hidden>"),
    ],
)
def test_a_foreign_exception_becomes_one_line(error: Exception, line: str) -> None:
    """Of the class that was asked for, with what it came from."""
    with (
        pytest.raises(ConsulError) as caught,
        boundary(ConsulError, "Consul", hide="s3cret"),
    ):
        raise error
    assert line == str(caught.value)
    assert caught.value.__cause__ is error


def test_what_cannot_be_decoded_is_not_quoted() -> None:
    """It may be a secret."""
    with pytest.raises(ConsulError, match=r"^file: it is not text$"):  # noqa: SIM117
        with boundary(ConsulError, "file"):
            b"s3cret\xff".decode()


def test_our_own_errors_and_cancellation_go_through() -> None:
    """They mean what they say."""
    for error in (KernelError("x"), asyncio.CancelledError(), KeyboardInterrupt()):
        with (
            pytest.raises(type(error)) as caught,
            boundary(ConsulError, "Consul"),
        ):
            raise error
        assert caught.value is error


def test_deep_nesting_is_an_error_of_ours() -> None:
    """Python's own reader of JSON recurses."""
    with pytest.raises(ConsulError), boundary(ConsulError, "answer"):
        json.loads("[" * 200_000)
