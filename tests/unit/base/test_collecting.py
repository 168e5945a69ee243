"""Answers that come one by one. Time is virtual."""

import asyncio

import pytest

from consul_ebpf.base.collecting import MANY, MOMENT, TOGETHER_SECONDS, Collector
from consul_ebpf.model.answers import Answers, Missing

pytestmark = pytest.mark.looptime


async def test_what_was_found_stays() -> None:
    """Until there is another value, or its key goes."""
    collector = Collector[str, str]({"web": Missing("not yet")})
    assert collector.answers.value == {"web": Missing("not yet")}
    collector.put("web", Missing("away"))
    await asyncio.sleep(1)
    assert collector.answers.value == {"web": Missing("away")}
    collector.put("web", "one")
    collector.put("web", Missing("away again"))
    await asyncio.sleep(1)
    assert collector.answers.value == {"web": "one"}
    assert collector.has_value("web")
    collector.drop(["web", "nobody"])
    await asyncio.sleep(1)
    assert collector.answers.value == Answers()
    assert not collector.has_value("web")


async def test_a_value_may_be_none() -> None:
    """Which is an answer, too."""
    collector = Collector[str, str | None]()
    collector.put("web", None)
    collector.put("web", Missing("away"))
    await asyncio.sleep(1)
    assert collector.answers.value == {"web": None}
    assert collector.has_value("web")


async def test_many_are_published_together_and_one_at_once() -> None:
    """The more there are, the more wait for each other, up to a limit."""
    collector = Collector[int, str]()
    collector.put(0, "one")
    await asyncio.sleep(0.001)
    assert collector.answers.version == 2
    for key in range(2 * MANY):
        collector.put(key, "value")
        if key % 400 == 0:
            await asyncio.sleep(0.04)
    await asyncio.sleep(TOGETHER_SECONDS)
    assert collector.answers.value is not None
    assert len(collector.answers.value) == 2 * MANY
    assert collector.answers.version < 20


async def test_what_is_published_does_not_change() -> None:
    """Whoever reads it may keep it."""
    collector = Collector[str, str]({"web": "one"})
    before = collector.answers.value
    collector.put("web", "two")
    await asyncio.sleep(1)
    assert before == {"web": "one"}


async def test_a_single_answer_among_many_does_not_wait_for_others() -> None:
    """Only one that comes soon after those of many does."""
    collector = Collector[int, str](dict.fromkeys(range(MANY), "value"))
    loop, found = asyncio.get_running_loop(), []
    for _ in range(2):
        begun, version = loop.time(), collector.answers.version
        collector.put(7, f"at {begun}")
        await collector.answers.changed_since(version, None)
        found.append(loop.time() - begun)
    assert found == pytest.approx([MOMENT * TOGETHER_SECONDS, TOGETHER_SECONDS])
