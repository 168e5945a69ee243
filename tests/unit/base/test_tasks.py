"""Tasks that last."""

import asyncio
import itertools
import logging
from collections.abc import Collection

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import for_each, keep_all_running, keep_running
from consul_ebpf.model.errors import ConsulError, PrivilegeError

pytestmark = pytest.mark.looptime


async def test_a_task_that_fails_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Said once with its traceback, with growing pauses."""
    starts: list[float] = []

    async def work() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) < 5:
            raise KeyError("what")

    await keep_running("proxies", work)
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    assert [1, 2, 4, 8] == [round(pause) for pause in pauses]
    said = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert 1 == len(said)
    assert said[0].exc_info
    assert "proxies: KeyError: 'what'; started again in 1 s" == said[0].message


async def test_our_own_errors_have_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another one is said anew."""
    errors = [ConsulError("away"), ConsulError("away"), ConsulError("gone")]

    async def work() -> None:
        if errors:
            raise errors.pop(0)

    await keep_running("servers", work)
    said = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert ["away", "gone"] == [r.message.split(": ")[1].split(";")[0] for r in said]
    assert not any(r.exc_info for r in said)


async def test_fatal_errors_are_raised() -> None:
    """Where nothing can go on."""

    async def work() -> None:
        raise PrivilegeError("CAP_BPF")

    with pytest.raises(PrivilegeError):
        await keep_running("upkeep", work, fatal=(PrivilegeError,))


async def test_a_task_for_each_key_and_none_for_others() -> None:
    """A failure of one touches no other; who leaves is cancelled, who comes starts."""
    keys: Latest[Collection[str]] = Latest()
    running: set[str] = set()
    failed: list[str] = []

    async def work(key: str) -> None:
        if key == "bad":
            failed.append(key)
            raise RuntimeError(key)
        running.add(key)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(key)

    keys.set({"a", "bad"})
    task = asyncio.create_task(
        for_each(keys.changes(), work, name=lambda key: f"token {key}")
    )
    await asyncio.sleep(10)
    assert {"a"} == running
    assert 3 <= len(failed) <= 5
    keys.set({"b", "a"})
    await asyncio.sleep(1)
    assert {"a", "b"} == running
    before = len(failed)
    keys.set({"b"})
    await asyncio.sleep(100)
    assert {"b"} == running
    assert before == len(failed)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running


async def test_what_is_between_comes_after_the_old_and_before_the_new() -> None:
    """A key that is another by now never has two tasks, however slow the first ends."""
    keys: Latest[Collection[tuple[str, int]]] = Latest()
    said: list[str] = []

    async def work(key: tuple[str, int]) -> None:
        said.append(f"{key} begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            said.append(f"{key} ends")

    async def between(wanted: Collection[tuple[str, int]]) -> None:
        said.append(f"between {wanted}")

    each = for_each(keys.changes(), work, name=str, between=between)
    task = asyncio.create_task(each)
    for wanted in ([("a", 1)], [("a", 2)], []):
        keys.set(wanted)
        await asyncio.sleep(10)
    task.cancel()
    await asyncio.wait([task])
    assert said == [
        "between [('a', 1)]",
        "('a', 1) begins",
        "('a', 1) ends",
        "between [('a', 2)]",
        "('a', 2) begins",
        "('a', 2) ends",
        "between []",
    ]


@pytest.mark.looptime
async def test_parts_are_kept_running_beside_each_other() -> None:
    """One that fails is started again; a fatal error ends them all and is raised."""
    ticks = {"good": 0, "bad": 0}

    async def good() -> None:
        while True:
            await asyncio.sleep(1)
            ticks["good"] += 1

    async def bad() -> None:
        ticks["bad"] += 1
        if ticks["bad"] > 3:
            raise KeyError("fatal")
        raise ZeroDivisionError

    with pytest.raises(KeyError, match="fatal"):
        await keep_all_running({"good": good, "bad": bad}, fatal=(KeyError,))
    assert ticks["good"] >= 3
    assert asyncio.all_tasks() == {asyncio.current_task()}
