"""Blocking queries without a network: what is asked, when, and of whom."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from consul_ebpf.client.blocking import watch_query
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.transport import deadline
from consul_ebpf.model.errors import ConfigError, ConsulError

pytestmark = pytest.mark.looptime(start=0)

ONE = ["http://127.0.0.1:8500"]
THREE = [f"http://127.0.0.{i}:8500" for i in (1, 2, 3)]


def now() -> float:
    return asyncio.get_running_loop().time()


class Script:
    """Plays Consul: each query gets the next answer, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str, int | None]] = []

    async def __call__(
        self, consul: ConsulHttp, index: int | None, wait: str
    ) -> tuple[str, Any]:
        where = repr(consul).removesuffix(":8500>")[-1]
        self.asked.append((round(now(), 1), where, index))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(where)
        if isinstance(answer, Exception):
            raise answer
        new, data = answer
        if index is not None and new == index:  # Consul blocks
            await asyncio.sleep(float(wait.removesuffix("s")))
        return str(new), data

    @property
    def indexes(self) -> list[int | None]:
        return [index for _, _, index in self.asked]


def watched(
    script: Script,
    addresses: list[str] = ONE,
    decode: Callable[[Any], Any] = lambda data: data,
) -> AsyncGenerator[Any, None]:
    return watch_query(addresses, script, decode, what="the things", wait=60)


async def take(
    count: int, answers: AsyncGenerator[Any, None]
) -> list[tuple[float, Any]]:
    """Return the first answers, each with the time it came."""
    taken = []
    async with aclosing(answers):
        async for answer in answers:
            taken.append((round(now(), 1), answer))
            if len(taken) == count:
                break
    return taken


async def test_each_query_carries_the_index_of_the_last() -> None:
    """The first one carries none, and is answered at once."""
    script = Script((5, "a"), (7, "b"), (9, "c"))
    assert [(0.0, "a"), (0.1, "b"), (0.2, "c")] == await take(3, watched(script))
    assert [None, 5, 7] == script.indexes


async def test_an_unchanged_index_blocks_for_the_wait() -> None:
    """And asks again with the same index, without a pause."""
    script = Script((5, "a"))
    assert [(0.0, "a"), (60.1, "a"), (120.1, "a")] == await take(3, watched(script))
    assert [None, 5, 5] == script.indexes


async def test_fault_50_an_index_that_goes_backwards_is_reset() -> None:
    """The data is good, the index is not."""
    script = Script((9, "a"), (4, "b"), (4, "c"), (5, "d"))
    assert ["a", "b", "c", "d"] == [data for _, data in await take(4, watched(script))]
    assert [None, 9, None, 4] == script.indexes


async def test_fault_50_a_missing_index_becomes_polling() -> None:
    """It reads as 0; one query a second, not thousands."""
    taken = await take(5, watched(Script((0, "a"))))
    assert [0.0, 1.0, 2.0, 3.0, 4.0] == [at for at, _ in taken]


async def test_fault_50_an_index_that_swings_does_not_spin() -> None:
    """Backwards and forwards for ever is at most two queries a second."""
    script = Script(*[(9, "a"), (4, "b")] * 50)
    taken = await take(40, watched(script))
    assert taken[-1][0] >= 19


async def test_a_busy_index_does_not_spin() -> None:
    """A catalog that changes all the time is asked ten times a second."""
    taken = await take(41, watched(Script(*[(i, i) for i in range(1, 100)])))
    assert pytest.approx(4.0, abs=0.2) == taken[-1][0]


async def test_the_next_address_is_tried_at_once_and_kept() -> None:
    """With a fresh index; those that fail are not asked while it answers."""
    script = Script((5, "a"), ConsulError("down"), ConsulError("down"), (3, "b"))
    taken = await take(3, watched(script, THREE))
    assert [(0.0, "a"), (0.1, "b"), (60.2, "b")] == taken
    assert ["1", "1", "2", "3", "3"] == [where for _, where, _ in script.asked]
    assert [None, 5, None, None, 3] == script.indexes


async def test_fault_51_back_off_grows_to_a_minute() -> None:
    """Between half a second and a minute, all addresses asked equally often."""
    script = Script(ConsulError("down"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await take(1, watched(script, THREE))
    for where in "123":
        times = [at for at, w, _ in script.asked if w == where]
        gaps = [b - a for a, b in pairwise(times)]
        assert 0.4 <= min(gaps)
        assert max(gaps) <= 60.1
        assert 60 <= len(times) <= 240


async def test_fault_51_retry_after_is_honoured() -> None:
    """By the address that asked for it, without holding up the others."""

    def answer(where: str) -> Any:
        if where == "1":
            return ConsulError("busy", retry_after=200)
        return ConsulError("down") if now() < 300 else (1, "a")

    script = Script(answer)
    await take(1, watched(script, THREE))
    first = [at for at, where, _ in script.asked if where == "1"]
    assert 0.0 == first[0]
    assert 200.0 <= first[1]
    second = [at for at, where, _ in script.asked if where == "2"]
    assert second[1] < 1.5


async def test_data_that_cannot_be_decoded_is_an_error_like_any_other() -> None:
    """It is not yielded, and the next address is asked."""
    script = Script((5, {"a": 1}), (5, [1, 2]))
    decoded = watched(script, THREE, lambda data: msgspec.convert(data, list[int]))
    assert [(0.0, [1, 2])] == await take(1, decoded)
    assert ["1", "2"] == [where for _, where, _ in script.asked]


@pytest.mark.parametrize(
    "foreign", [ValueError("\x1b[2J"), RecursionError(), UnicodeError(), KeyError("x")]
)
async def test_fault_113_whatever_a_decoder_raises_is_consuls_fault(
    foreign: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The next address is asked, and the log line is printable."""

    def decode(data: Any) -> Any:
        if data == "bad":
            raise foreign
        return data

    script = Script((5, "bad"), (5, "good"))
    assert [(0.0, "good")] == await take(1, watched(script, THREE, decode))
    assert ["1", "2"] == [where for _, where, _ in script.asked]
    assert caplog.messages[0].isprintable()


def leaders(known: Callable[[str], bool], log: list[tuple[float, str]]) -> Any:
    """Return a query of addresses that know a leader or none; it blocks as Consul."""

    async def query(
        consul: ConsulHttp, index: int | None, wait: str
    ) -> tuple[str, Any]:
        where = repr(consul).removesuffix(":8500>")[-1]
        log.append((round(now(), 1), where))
        if index is not None:
            await asyncio.sleep(float(wait.removesuffix("s")))
        consul.http.known_leader = known(where)
        return "5", where

    return query


async def test_fault_118_an_answer_without_a_leader_gives_way() -> None:
    """To an address that knows one; what the first one says is not taken."""
    log: list[tuple[float, str]] = []
    query = leaders(lambda where: where != "1", log)
    watch = watch_query(THREE, query, str, what="the things", wait=60)
    assert [(0.0, "2"), (60.1, "2")] == await take(2, watch)
    assert ["1", "2", "2"] == [where for _, where in log]


async def test_fault_118_without_any_leader_each_answer_is_taken() -> None:
    """One after the other is asked, not in a hurry, until somebody knows one."""
    log: list[tuple[float, str]] = []
    query = leaders(lambda where: where == "3" and now() > 20, log)
    watch = watch_query(THREE, query, str, what="the things", wait=60)
    taken = await take(7, watch)
    assert ["3", "1", "2", "3", "1", "2", "3"] == [where for _, where in taken]
    assert ["1", "2", "3"] == [where for _, where in log[:3]]
    assert [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0] == [at for at, _ in taken]


async def test_fault_118_a_leader_that_is_lost_while_blocking_is_looked_for() -> None:
    """At the other addresses, as soon as the query returns."""
    log: list[tuple[float, str]] = []
    query = leaders(lambda where: where != "1" or now() < 90, log)
    watch = watch_query(THREE, query, str, what="the things", wait=60)
    assert ["1", "1", "2"] == [where for _, where in await take(3, watch)]


async def test_fault_118_the_only_address_is_used_as_it_is() -> None:
    """There is nobody better to ask."""
    query = leaders(lambda _: False, [])
    watch = watch_query(ONE, query, str, what="the things", wait=60)
    assert [(0.0, "1"), (60.1, "1")] == await take(2, watch)


async def test_a_mistake_in_a_query_is_not_retried() -> None:
    """Only Consul's failures are."""
    with pytest.raises(ZeroDivisionError):
        await take(1, watched(Script(ZeroDivisionError())))


async def test_failure_and_recovery_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not each retry."""
    caplog.set_level(logging.INFO, "consul_ebpf")
    down = ConsulError("Consul at http://127.0.0.1:8500: HTTP 500: No cluster leader")
    script = Script(*[down] * 10, (5, "a"))
    await take(2, watched(script))
    assert caplog.messages == [
        (
            "the things: Consul at http://127.0.0.1:8500: HTTP 500: No cluster leader;"
            " keeping what is known, trying again"
        ),
        "the things: Consul at http://127.0.0.1:8500 answers again",
    ]


async def test_no_address_is_a_configuration_error() -> None:
    """It names the key."""
    with pytest.raises(ConfigError, match=r"consul\.http_addresses"):
        await take(1, watched(Script((1, "a")), []))


def test_a_request_always_has_a_deadline() -> None:
    """Consul adds up to a sixteenth to the wait; a plain request gets 10 s."""
    assert 10.0 == deadline(None)
    assert 60 + 60 / 16 < deadline(60) < 90
