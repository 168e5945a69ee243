"""The endpoint's answers, over real sockets, of a host that is made up."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consul_ebpf import PlacedProxy, Proxy, Server, ServerState, Vip
from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.outcomes import Converged, Outcome, Refused, Served, Trouble
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import (
    KernelState,
    ServerCounters,
    SlottedServer,
    Table,
    VipCounters,
)
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.sources.precedence import catalog_owner
from consul_ebpf.proxies.sources.registered import RegisteredWorkloads
from consul_ebpf.views.endpoint import serve
from consul_ebpf.views.gatherer import Gatherer
from consul_ebpf.views.guard import Patience
from consul_ebpf.views.handlers import Handlers
from consul_ebpf.views.host import Host
from consul_ebpf.views.listeners import Listeners
from consul_ebpf.views.peers import is_local_name, writers
from consul_ebpf.views.room import Limits, Room

WEB = PlacedProxy(
    Proxy("web", "n", owner="configuration"), Vip(IPv4Address("127.64.0.1"), 8502)
)
WAITS, SERVED = Served(WEB), Served(WEB, bootstrap=True)
SERVER = SlottedServer(0, Server.at("10.0.0.1", 8502), ServerState.READY)


class World:
    """A host with one proxy, its endpoint, and a client of it."""

    def __init__(self, directory: Path, uids: frozenset[int]) -> None:
        self.socket = directory / "api.sock"
        self.directory = directory
        self.programmed = True
        self.connects = 0
        self.cookies: frozenset[int] = frozenset()
        self.looks = 0
        self.outcome: Latest[Converged] = Latest()
        nothing = directory / "bpf"  # so no program is attached
        gatherer = Gatherer(nothing, directory, lambda _: self.cookies)
        self.host = Host(gatherer, {"grpc": self.read}, self.outcome, self.bootstrap)
        self.registered = RegisteredWorkloads(directory)
        self.lacking = ""
        self.handlers = Handlers(self.host, self.registered, uids, lambda: self.lacking)

    async def read(self) -> KernelState:
        self.looks += 1
        counters = VipCounters(self.connects, 0 if self.connects else None, ((7, 0),))
        vips = {WEB.vip: counters} if self.programmed else {}
        table = Table({0: SERVER}, dict.fromkeys(vips, (0,)))
        return KernelState(table, {0: ServerCounters(self.connects)}, vips)

    def bootstrap(self, proxy: Proxy) -> Path:
        return self.directory / proxy.id / "bootstrap.json"

    def converged(self, *served: Served | PlacedProxy, **refusals: str) -> None:
        """Tell of a round; a proxy that is only placed has no bootstrap yet."""
        all_ = [each if isinstance(each, Served) else Served(each) for each in served]
        outcomes = {each.placed.proxy.id: each for each in all_}
        refused = {each: Refused(Trouble(why)) for each, why in refusals.items()}
        self.set_outcomes({**outcomes, **refused})

    def set_outcomes(self, outcomes: Mapping[str, Outcome]) -> None:
        self.outcome.set(Converged(1, len(outcomes), 0, outcomes=outcomes))

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        connector = aiohttp.UnixConnector(str(self.socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method, f"http://localhost{path}", data=body, headers=headers
            ) as answer,
        ):
            text = await answer.text()
            kind = answer.content_type
            return answer.status, json.loads(text) if kind.endswith("json") else text


@asynccontextmanager
async def serving(
    directory: Path,
    uids: frozenset[int] | None = None,
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
    listen: tuple[str, int] | None = None,
    world: type[World] | None = None,
) -> AsyncIterator[World]:
    ours = frozenset({os.geteuid()}) if uids is None else uids
    made = (world or World)(directory, ours)
    listeners = Listeners(made.socket, listen)
    task = asyncio.create_task(
        serve(made.handlers, listeners, Room(ours, limits), patience)
    )
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        listeners.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not made.socket.exists()


async def test_a_proxy_step_by_step(tmp_path: Path) -> None:
    """Unknown, refused, programmed, with its bootstrap, connected."""
    async with serving(tmp_path) as world:
        assert (await world.ask("GET", "/v1/proxies/web"))[0] == 404
        world.converged(web="proxy web: no, because")
        status, answer = await world.ask("GET", "/v1/proxies/web")
        assert (status, answer["programmed"], answer["ready"]) == (200, False, False)
        assert answer["refused"] == "proxy web: no, because"
        world.converged(WAITS)
        _, answer = await world.ask("GET", "/v1/proxies/web")
        assert (answer["programmed"], answer["bootstrap"]) == (True, "")
        world.bootstrap(WEB.proxy).parent.mkdir()
        world.bootstrap(WEB.proxy).write_text("{}")
        _, answer = await world.ask("GET", "/v1/proxies/web")
        assert not answer["ready"]  # one that a round has not written
        world.converged(SERVED)
        _, answer = await world.ask("GET", "/v1/proxies/web")
        assert answer["ready"]
        assert not answer["connected"]
        world.connects, world.cookies = 1, frozenset({7})
        await asyncio.sleep(1.1)
        _, (answer,) = await world.ask("GET", "/v1/proxies")
        assert answer["connected"]
        assert answer["server"] == "10.0.0.1:8502"
        assert answer["owner"] == "configuration"


async def test_waiting(tmp_path: Path) -> None:
    """It answers as soon as it holds, or in time says what is missing."""
    async with serving(tmp_path) as world:
        ask = world.ask("GET", "/v1/proxies/web?wait=programmed&timeout=10")
        waiting = asyncio.create_task(ask)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        world.converged(WAITS)
        assert (await waiting)[0] == 200
        path = "/v1/proxies/web?wait=bootstrap&timeout=0.1"
        status, answer = await world.ask("GET", path)
        assert status == 504
        assert answer["error"].endswith("after 0.1 s: it has no bootstrap yet")
        assert answer["proxy"]["programmed"]
        for query, said in (
            ("wait=x", "wait='x'"),
            ("wait=connected&timeout=x", "tim"),
            ("wait=connected&timeout=nan", "tim"),
            ("wait=connected&timeout=-1", "tim"),
        ):
            status, answer = await world.ask("GET", f"/v1/proxies/web?{query}")
            assert status == 400
            assert said in answer["error"]


async def test_fault_131_a_connection_is_waited_for_together(tmp_path: Path) -> None:
    """However many wait, one looks, and all are told at once."""
    async with serving(tmp_path) as world:
        world.converged(WAITS)
        waiting = [
            asyncio.create_task(
                world.ask("GET", "/v1/proxies/web?wait=connected&timeout=10")
            )
            for _ in range(50)
        ]
        await asyncio.sleep(0.4)
        before = world.looks
        assert before <= 4
        world.connects, world.cookies = 1, frozenset({7})
        assert {200} == {status for status, _ in await asyncio.gather(*waiting)}
        assert world.looks - before <= 2
        await asyncio.sleep(0.6)
        assert world.looks - before <= 2, "it looks though nobody waits"


async def test_fault_131_one_look_for_all_who_ask(tmp_path: Path) -> None:
    """The status, the metrics and the proxies are told from the same one."""
    async with serving(tmp_path) as world:
        world.converged(WAITS)
        for _ in range(20):
            for path in ("/v1/status", "/metrics", "/v1/proxies", "/v1/proxies/web"):
                assert 200 == (await world.ask("GET", path))[0]
        assert world.looks <= 2


async def test_registering(tmp_path: Path) -> None:
    """New, again, mistaken, another's, gone."""
    async with serving(tmp_path) as world:
        put = "/v1/proxies/late"
        assert (await world.ask("PUT", put, b'{"node": "n"}'))[0] == 201
        assert (await world.ask("PUT", put, b'{"id": "late"}'))[0] == 200
        for body, said in (
            (b"{", "truncated"),
            (b'{"id": "other"}', "the path's id"),
            (b'{"nodee": 1}', "did you mean node?"),
            (b'{"vip": 1}', "vip: expected str"),
            (b"", "truncated"),
            (b"\xff\xfe", ""),
            (b'{"node": "\\ud800"}', ""),
            (b"[" * 60_000, "nested too deeply"),
            (b'{"":' * 15_000, "nested too deeply"),
            (b'{"netns": "/a\\u0000b"}', "control character"),
            (b'{"id": "late", "id": "other"}', "the path's id"),
        ):
            status, answer = await world.ask("PUT", put, body)
            assert status == 400
            assert said in answer["error"], answer
        assert (await world.ask("PUT", put, b"x" * 70_000))[0] == 413
        world.converged(WAITS)
        status, answer = await world.ask("PUT", "/v1/proxies/web", b"{}")
        assert status == 409
        assert "it is of configuration" in answer["error"]
        assert (await world.ask("DELETE", put))[0] == 204
        assert (await world.ask("DELETE", put))[0] == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            (
                b'{"credentials": {"type": "login", "auth_method": "jwt",'
                b' "bearer_token_file": "/a\\u0000b"}}'
            ),
            "credentials.bearer_token_file: holds a control character",
        ),
        (b'{"netns": "/a\\u0000b"}', "netns: '/a\\x00b' holds a control character"),
        (b'{"node": "\\ud800"}', "body: "),
        (b'{"node": ' + b"[" * 1200 + b"]" * 1200 + b"}", "body: "),
        (b"[" * 30_000, "body: "),
        (b"\xff\xfe{\x00}\x00", "body: "),
        (b'{"credentials": {"token_ttl": 1e999}}', ""),
    ],
)
async def test_fault_88_a_hostile_entry_is_refused_in_one_line(
    tmp_path: Path, body: bytes, said: str
) -> None:
    """With 400, and nothing is kept that the next start would trip over."""
    async with serving(tmp_path) as world:
        status, answer = await world.ask("PUT", "/v1/proxies/late", body)
        assert status == 400
        assert answer["error"].startswith(said)
        assert answer["error"].isprintable()
        assert not await world.registered.owns("late")


async def test_fault_86_only_the_catalogs_id_may_be_registered(tmp_path: Path) -> None:
    """What is registered is preferred to the catalog, and not to a drop-in."""
    async with serving(tmp_path) as world:
        of = Proxy("web", "n", owner=catalog_owner("host1"))
        world.converged(replace(WEB, proxy=of))
        assert (await world.ask("DELETE", "/v1/proxies/web"))[0] == 404
        assert (await world.ask("PUT", "/v1/proxies/web", b"{}"))[0] == 201
        of = Proxy("db", "n", owner="/etc/consul-ebpf.d/db.toml")
        world.converged(replace(WEB, proxy=of))
        assert (await world.ask("PUT", "/v1/proxies/db", b"{}"))[0] == 409
        waits = Refused(Trouble("no VIP is free"), owner="configuration")
        world.set_outcomes({"api": waits})
        assert (await world.ask("PUT", "/v1/proxies/api", b"{}"))[0] == 409


async def test_fault_87_sixty_puts_at_once_over_the_socket(tmp_path: Path) -> None:
    """Each is answered 201 and kept."""
    async with serving(tmp_path) as world:
        puts = (world.ask("PUT", f"/v1/proxies/web-{n}", b"{}") for n in range(60))
        answers = await asyncio.gather(*puts)
        assert [status for status, _ in answers] == [201] * 60
        again = RegisteredWorkloads(tmp_path)
        assert all([await again.owns(f"web-{n}") for n in range(60)])


async def test_who_may_not(tmp_path: Path) -> None:
    """Another uid may look; a name of somebody's own DNS may not even that."""
    async with serving(tmp_path, frozenset()) as world:
        status, answer = await world.ask("PUT", "/v1/proxies/x", b"{}")
        assert status == 403
        assert f"uid {os.geteuid()} may not register" in answer["error"]
        assert (await world.ask("GET", "/v1/health")) == (
            200,
            {"status": "ok", "ready": False},
        )
        assert (await world.ask("GET", "/v1/health", Host="evil.example"))[0] == 403
        assert (await world.ask("GET", "/v1/nothing"))[0] == 404
        assert (await world.ask("POST", "/v1/health"))[0] == 405


async def test_ready_is_a_status(tmp_path: Path) -> None:
    """503 before the first round, and while another part says what is missing."""
    async with serving(tmp_path) as world:
        status, answer = await world.ask("GET", "/v1/ready")
        assert (status, answer["ready"]) == (503, False)
        assert "the first round is not done yet" == answer["error"]
        world.converged(SERVED)
        world.lacking = "the sockets are not open yet"
        status, answer = await world.ask("GET", "/v1/ready")
        assert (503, world.lacking) == (status, answer["error"])
        world.lacking = ""
        assert (200, {"ready": True}) == await world.ask("GET", "/v1/ready")


async def test_status_and_metrics(tmp_path: Path) -> None:
    """They show one look, of all that is known."""
    async with serving(tmp_path) as world:
        world.converged(SERVED)
        world.connects, world.cookies = 3, frozenset({7})
        VipMemory(tmp_path).save({("web", "default", "default"): WEB.vip})
        world.bootstrap(WEB.proxy).parent.mkdir()
        world.bootstrap(WEB.proxy).write_text("{}")
        status, shown = await world.ask("GET", "/v1/status")
        assert (status, shown["kernel"]["attached"]) == (200, False)
        (proxy,) = shown["proxies"]
        assert (proxy["id"], proxy["active"], proxy["connects"]) == ("web", True, 3)
        status, text = await world.ask("GET", "/metrics")
        assert status == 200
        assert 'consul_ebpf_proxy_open{proxy="web"} 1.0' in text
        assert 'consul_ebpf_bootstrap_age_seconds{proxy="web"}' in text
        assert world.looks == 1


async def test_what_is_shown_is_no_older_than_the_newest_round(tmp_path: Path) -> None:
    """Though an answer is used for a second where nothing happened."""
    async with serving(tmp_path) as world:
        for connects, served in ((1, WAITS), (2, SERVED)):
            world.connects = connects
            world.converged(served)
            _, shown = await world.ask("GET", "/v1/status")
            assert [each["connects"] for each in shown["proxies"]] == [connects]
            _, text = await world.ask("GET", "/metrics")
            assert f'connects_total{{proxy="127.64.0.1"}} {connects}.0' in text
        assert world.looks == 2


def test_who_may_write() -> None:
    """Root, our own user, and those named."""
    assert writers([]) == {0, os.geteuid()}
    assert writers(["12345"]) == {0, os.geteuid(), 12345}
    with pytest.raises(ConfigError, match=r"api.users: 'no-such-user'"):
        writers(["no-such-user"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:80", True),
        ("127.0.0.1", True),
        ("127.0.0.1:9", True),
        ("[::1]", True),
        ("[::1]:80", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:80", False),
        ("", False),
    ],
)
def test_names(host: str, expected: bool) -> None:
    """An address is one of ours; a name may be anybody's."""
    assert is_local_name(host) == expected


async def test_a_proxy_is_asked_for_by_its_key_or_its_id(tmp_path: Path) -> None:
    """And called by its id, as soon as it has one."""
    late = Proxy(id="", node="", key="pod-1")
    async with serving(tmp_path) as world:
        for proxy, name in ((late, "pod-1"), (replace(late, id="db"), "db")):
            served = Served(PlacedProxy(proxy, WEB.vip))
            world.set_outcomes({"pod-1": served})
            for asked in {"pod-1", name}:
                status, answer = await world.ask("GET", f"/v1/proxies/{asked}")
                assert (status, answer["id"]) == (200, name)
            _, (answer,) = await world.ask("GET", "/v1/proxies")
            assert answer["id"] == name
        refused = Refused(Trouble("no"), name="db")
        world.set_outcomes({"pod-1": refused})
        assert (await world.ask("GET", "/v1/proxies/db"))[1]["refused"] == "no"
