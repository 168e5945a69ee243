"""The wait for a controller that has not ended yet."""

import asyncio
import logging

import pytest

from consul_ebpf.cli.taking_over import when_free
from consul_ebpf.model.errors import AlreadyRunningError, BpffsError


class Held:
    """Is free at a time of the event loop's."""

    def __init__(self, until: float) -> None:
        self.until = until

    def __call__(self) -> float:
        now = asyncio.get_running_loop().time()
        if now < self.until:
            raise AlreadyRunningError("pid 7 holds this host")
        return now


@pytest.mark.looptime
async def test_what_another_controller_holds_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So long as it may take to end; that is said once."""
    caplog.set_level(logging.INFO)
    assert 20 == await when_free(Held(20), 30)
    assert 1 == caplog.text.count("waiting up to 30 s for its end: pid 7 holds")
    with pytest.raises(AlreadyRunningError):
        await when_free(Held(60), 30)
    assert 50 == asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_without_patience_nobody_waits() -> None:
    """Nor for any other error."""
    with pytest.raises(AlreadyRunningError):
        await when_free(Held(1), 0)

    def fails() -> None:
        raise BpffsError("no")

    with pytest.raises(BpffsError):
        await when_free(fails, 30)
    assert 0 == asyncio.get_running_loop().time()
