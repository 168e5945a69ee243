"""Consul is asked about every bootstrap, again and again. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulError, TokenRefusedError
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.model.values import BootstrapParams, Credentials, HostProxies, Proxy
from consul_ebpf.proxies.params import (
    AT_ONCE,
    NOT_ALLOWED,
    Ask,
    CentralConfig,
    Params,
)

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
        self.refused = "no token"

    async def ask(self, proxy: Proxy, token: str) -> BootstrapParams | None:
        self.asked.append((proxy.id, token, asyncio.get_running_loop().time()))
        if token == self.refused:
            raise TokenRefusedError("PERMISSION_DENIED")
        if self.failure:
            raise ConsulError(self.failure)
        return self.answers[proxy.id]


class Host:
    """A `CentralConfig` and the cells it reads."""

    def __init__(
        self, ask: Ask, refresh: float = 60, patience: float = float("inf")
    ) -> None:
        self.proxies: Latest[HostProxies] = Latest()
        self.tokens: Latest[Tokens] = Latest()
        self.refused: Latest[Mapping[str, int]] = Latest()
        self.central = CentralConfig(
            ask,
            refresh,
            patience,
            proxies=self.proxies,
            tokens=self.tokens,
            refused=self.refused,
        )

    def want(self, proxies: Mapping[Proxy, str | Missing]) -> None:
        """Name the proxies, and the token of each that has one of its own."""
        own = Credentials(token="its")
        self.tokens.set(Tokens({p.key: t for p, t in proxies.items() if t}))
        self.proxies.set(
            HostProxies(
                tuple(
                    replace(p, credentials=own if t else None)
                    for p, t in proxies.items()
                )
            )
        )

    @property
    def found(self) -> dict[str, BootstrapParams | None]:
        params = self.central.params.value or Params()
        return {k: each for k, each in params.items() if not isinstance(each, Missing)}

    @property
    def denied(self) -> dict[str, str | Missing]:
        return dict(self.central.denied.value or {})

    @property
    def missing(self) -> dict[str, Missing]:
        params = self.central.params.value or Params()
        return {k: each for k, each in params.items() if isinstance(each, Missing)}


@asynccontextmanager
async def following(
    ask: Ask, refresh: float = 60, patience: float = float("inf")
) -> AsyncIterator[Host]:
    host = Host(ask, refresh, patience)
    task = asyncio.create_task(host.central.run())
    try:
        yield host
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_change_is_noticed() -> None:
    """Within the refresh; each proxy is asked for with its own token."""
    consul = Consul()
    async with following(consul.ask) as host:
        host.want({WEB: "one", API: ""})
        await asyncio.sleep(1)
        assert set(host.found) == {"web", "api"}
        consul.answers["web"] = changed = BootstrapParams("web", config={"a": "b"})
        await asyncio.sleep(75)
        assert host.found["web"] == changed
        assert {("web", "one"), ("api", "")} == {asked[:2] for asked in consul.asked}
        assert len(consul.asked) == 4


async def test_a_failure_is_never_fatal() -> None:
    """Asked again with growing pauses; what is known stays; others are not held up."""
    consul = Consul()
    consul.failure = "NOT_FOUND Service not found"
    async with following(consul.ask) as host:
        host.want({WEB: ""})
        await asyncio.sleep(300)
        assert host.missing == {"web": Missing(consul.failure)}
        assert 10 < len(consul.asked) < 25
        consul.failure = ""
        await asyncio.sleep(40)
        assert host.found["web"]
        assert not host.missing
        consul.failure = "away"
        await asyncio.sleep(300)
        assert host.found["web"]


async def test_who_waits_too_long_is_overdue() -> None:
    """Until there is an answer."""
    consul = Consul()
    consul.failure = "NOT_FOUND"
    async with following(consul.ask, patience=5) as host:
        host.want({WEB: ""})
        await asyncio.sleep(4)
        assert not host.missing["web"].overdue
        await asyncio.sleep(4)
        assert host.missing["web"].overdue
        consul.failure = ""
        await asyncio.sleep(15)
        assert not host.missing
        assert host.found["web"]


async def test_nobody_is_asked_about_a_proxy_that_has_ended() -> None:
    """Until it is there again; nor about one whose id is not known."""
    consul = Consul()
    late = Proxy("", "", key="pod-1", awaits="no registration of pod default/web")
    async with following(consul.ask, refresh=5) as host:
        host.want({replace(WEB, ended=True): "", late: ""})
        await asyncio.sleep(100)
        assert not consul.asked
        assert not host.missing
        host.want({WEB: ""})
        await asyncio.sleep(1)
        assert host.found["web"]


async def test_another_token_is_tried_at_once() -> None:
    """The old one may have been why there is no answer."""
    consul = Consul()
    consul.failure = "PERMISSION_DENIED"
    async with following(consul.ask) as host:
        host.want({WEB: "old"})
        await asyncio.sleep(100)
        consul.failure = ""
        host.want({WEB: "new"})
        await asyncio.sleep(0.1)
        assert consul.asked[-1][:2] == ("web", "new")
        assert host.found["web"]
        count = len(consul.asked)
        host.want({WEB: "newer"})  # nothing is missing: no reason to hurry
        await asyncio.sleep(1)
        assert len(consul.asked) == count


async def test_a_proxy_that_goes_is_forgotten() -> None:
    """And asked for anew when it comes back."""
    consul = Consul()
    async with following(consul.ask) as host:
        host.want({WEB: ""})
        await asyncio.sleep(1)
        host.want({})
        await asyncio.sleep(200)
        assert len(consul.asked) == 1
        host.want({WEB: ""})
        await asyncio.sleep(1)
        assert len(consul.asked) == 2


async def test_another_id_is_another_proxy_to_consul() -> None:
    """What was said of the one does not stand for the other, whatever the key."""
    consul = Consul()
    async with following(consul.ask) as host:
        host.want({replace(WEB, key="pod-1"): ""})
        await asyncio.sleep(1)
        assert host.found == {"pod-1": consul.answers["web"]}
        host.want({replace(API, key="pod-1"): ""})
        await asyncio.sleep(1)
        assert host.found == {"pod-1": consul.answers["api"]}


async def test_many_answers_are_told_together_and_old_ones_not_at_all() -> None:
    """Each time all is told anew, and what follows goes through all of it."""

    async def ask(proxy: Proxy, _token: str) -> BootstrapParams:
        await asyncio.sleep(0.01)
        return BootstrapParams(identity=proxy.id)

    async with following(ask) as host:
        host.want({Proxy(f"web-{n}", "host1"): "" for n in range(500)})
        await asyncio.sleep(5)
        assert len(host.found) == 500
        told = host.central.params.version
        assert told < 40
        await asyncio.sleep(200)
        assert host.central.params.version == told


async def test_nobody_is_asked_for_before_its_id_and_token_are_there() -> None:
    """The servers would refuse; both may come later than the proxy."""
    consul = Consul()
    late = Proxy("", "host1", key="pod-1")
    async with following(consul.ask) as host:
        host.want({late: "", WEB: Missing("no login yet")})
        await asyncio.sleep(100)
        assert not consul.asked
        host.want({replace(late, id="api"): "", WEB: "one"})
        await asyncio.sleep(1)
        assert {("api", ""), ("web", "one")} == {asked[:2] for asked in consul.asked}


async def test_a_token_that_is_refused_is_said_to_whoever_keeps_it() -> None:
    """Each time, and only of that proxy; other failures say nothing of a token."""
    consul = Consul()
    async with following(consul.ask) as host:
        host.want({WEB: "one", API: "two"})
        await asyncio.sleep(1)
        assert host.refused.value is None
        assert host.denied == {}
        consul.refused = "one"
        await asyncio.sleep(75)
        assert host.refused.value
        before = host.refused.value["web"]
        assert set(host.refused.value) == {"web"}
        assert host.denied == {"web": NOT_ALLOWED}
        await asyncio.sleep(75)
        assert host.refused.value["web"] > before
        assert host.found["web"] == consul.answers["web"]
        host.want({WEB: "three", API: "two"})
        await asyncio.sleep(1)  # another token is tried at once
        assert host.denied == {}


async def test_questions_are_asked_a_few_at_a_time() -> None:
    """Whatever the number of proxies; one that is slow holds only its own place."""
    asking = most = 0

    async def ask(proxy: Proxy, _token: str) -> BootstrapParams:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(1000 if proxy.id == "web-0" else 0.1)
        asking -= 1
        return BootstrapParams(identity=proxy.id)

    async with following(ask) as host:
        host.want({Proxy(f"web-{n}", "host1"): "" for n in range(200)})
        await asyncio.sleep(5)
        assert len(host.found) == 199
    assert most == AT_ONCE


async def test_nothing_shows_a_token() -> None:
    """Neither a repr nor an answer."""
    consul = Consul()
    async with following(consul.ask) as host:
        host.want({WEB: "secret-1"})
        await asyncio.sleep(1)
        shown = f"{host.central!r} {host.central.params!r} {host.tokens!r}"
        shown += repr(vars(host.central))
    assert "secret-1" not in shown
