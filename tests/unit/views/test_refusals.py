"""What becomes of errors in the endpoint's handlers."""

import logging
from pathlib import Path

import pytest

from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import KernelState
from tests.unit.views.test_endpoint import World, serving


async def test_what_nobody_foresaw_is_said_once_and_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback the first time; others are served."""
    caplog.set_level(logging.DEBUG, logger="consul_ebpf")

    class Broken(World):
        async def read(self) -> KernelState:
            raise ZeroDivisionError("a\nb")

    async with serving(tmp_path, world=Broken) as world:
        for _ in range(3):
            status, answer = await world.ask("GET", "/v1/status")
            assert (500, "ZeroDivisionError: a b") == (status, answer["error"])
        assert 200 == (await world.ask("GET", "/v1/health"))[0]
    said = [each for each in caplog.records if "ZeroDivision" in each.getMessage()]
    assert ["ERROR", "DEBUG", "DEBUG"] == [each.levelname for each in said]
    assert 1 == sum(each.exc_info is not None for each in said)


async def test_an_error_of_ours_is_503(tmp_path: Path) -> None:
    """In one line; it may be well the next time."""

    class Busy(World):
        async def read(self) -> KernelState:
            raise KernelError("the tables cannot be read")

    async with serving(tmp_path, world=Busy) as world:
        status, answer = await world.ask("GET", "/metrics")
        assert (503, {"error": "the tables cannot be read"}) == (status, answer)
