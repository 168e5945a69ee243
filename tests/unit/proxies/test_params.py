"""Consul is asked about every bootstrap, again and again. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import BootstrapParams, Proxy
from consul_ebpf.proxies.params import CentralConfig

pytestmark = pytest.mark.looptime(start=0)

WEB, API = Proxy("web", "host1"), Proxy("api", "host1")


class Consul:
    """Answers by proxy id, and remembers who asked when."""

    def __init__(self) -> None:
        self.answers: dict[str, BootstrapParams | None] = {
            "web": BootstrapParams(identity="web"),
            "api": BootstrapParams(identity="api"),
        }
        self.asked: list[tuple[str, str, float]] = []
        self.failure = ""

    async def ask(self, proxy: Proxy, token: str) -> BootstrapParams | None:
        self.asked.append((proxy.id, token, asyncio.get_running_loop().time()))
        if self.failure:
            raise ConsulError(self.failure)
        return self.answers[proxy.id]


@asynccontextmanager
async def following(
    consul: Consul, refresh: float = 60
) -> AsyncIterator[CentralConfig]:
    central = CentralConfig(consul.ask, refresh)
    task = asyncio.create_task(central.run())
    try:
        yield central
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_change_is_noticed() -> None:
    """Within the refresh; each proxy is asked for with its own token."""
    consul = Consul()
    async with following(consul) as central:
        central.want({WEB: "one", API: ""})
        await asyncio.sleep(1)
        assert central.params.value
        assert set(central.params.value.found) == {"web", "api"}
        consul.answers["web"] = changed = BootstrapParams("web", config={"a": "b"})
        await asyncio.sleep(75)
        assert central.params.value.found["web"] == changed
        assert {("web", "one"), ("api", "")} == {asked[:2] for asked in consul.asked}
        assert len(consul.asked) == 4


async def test_a_failure_is_never_fatal() -> None:
    """Asked again with growing pauses; what is known stays; others are not held up."""
    consul = Consul()
    consul.failure = "NOT_FOUND Service not found"
    async with following(consul) as central:
        central.want({WEB: ""})
        await asyncio.sleep(300)
        assert central.params.value
        assert central.params.value.waiting == {"web": consul.failure}
        assert 10 < len(consul.asked) < 25
        consul.failure = ""
        await asyncio.sleep(40)
        assert central.params.value.found["web"]
        assert not central.params.value.waiting
        consul.failure = "away"
        await asyncio.sleep(300)
        assert central.params.value.found["web"]


async def test_who_waits_too_long_is_overdue() -> None:
    """Until there is an answer."""
    consul = Consul()
    consul.failure = "NOT_FOUND"
    central = CentralConfig(consul.ask, 60, patience=5)
    central.want({WEB: ""})
    task = asyncio.create_task(central.run())
    await asyncio.sleep(4)
    assert central.params.value
    assert not central.params.value.overdue
    await asyncio.sleep(4)
    assert central.params.value.overdue == {"web"}
    consul.failure = ""
    await asyncio.sleep(15)
    assert not central.params.value.overdue
    assert central.params.value.found["web"]
    task.cancel()


async def test_another_token_is_tried_at_once() -> None:
    """The old one may have been why there is no answer."""
    consul = Consul()
    consul.failure = "PERMISSION_DENIED"
    async with following(consul) as central:
        central.want({WEB: "old"})
        await asyncio.sleep(100)
        consul.failure = ""
        central.want({WEB: "new"})
        await asyncio.sleep(0.1)
        assert consul.asked[-1][:2] == ("web", "new")
        assert central.params.value
        assert central.params.value.found["web"]
        count = len(consul.asked)
        central.want({WEB: "newer"})  # nothing is missing: no reason to hurry
        await asyncio.sleep(1)
        assert len(consul.asked) == count


async def test_a_proxy_that_goes_is_forgotten() -> None:
    """And asked for anew when it comes back."""
    consul = Consul()
    async with following(consul) as central:
        central.want({WEB: ""})
        await asyncio.sleep(1)
        central.want({})
        await asyncio.sleep(200)
        assert len(consul.asked) == 1
        central.want({WEB: ""})
        await asyncio.sleep(1)
        assert len(consul.asked) == 2


async def test_another_id_is_another_proxy_to_consul() -> None:
    """What was said of the one does not stand for the other, whatever the key."""
    consul = Consul()
    async with following(consul) as central:
        assert central.params.value
        central.want({replace(WEB, key="pod-1"): ""})
        await asyncio.sleep(1)
        assert central.params.value.found == {"pod-1": consul.answers["web"]}
        central.want({replace(API, key="pod-1"): ""})
        await asyncio.sleep(1)
        assert central.params.value.found == {"pod-1": consul.answers["api"]}


async def test_many_answers_are_told_together_and_old_ones_not_at_all() -> None:
    """Each time all is told anew, and what follows goes through all of it."""

    async def ask(proxy: Proxy, _token: str) -> BootstrapParams:
        await asyncio.sleep(0.01)
        return BootstrapParams(identity=proxy.id)

    central = CentralConfig(ask, refresh=60)
    task = asyncio.create_task(central.run())
    try:
        central.want({Proxy(f"web-{n}", "host1"): "" for n in range(2000)})
        await asyncio.sleep(5)
        assert central.params.value
        assert len(central.params.value.found) == 2000
        told = central.params.version
        assert told < 40
        await asyncio.sleep(200)
        assert central.params.version == told
    finally:
        task.cancel()
        await asyncio.wait([task])
