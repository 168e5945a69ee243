"""What is told of a round, when, and where it is kept. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.outcomes import Converged, Refused, Served, Trouble
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.controller.reports import Reports
from consul_ebpf.model.values import (
    Credentials,
    Login,
    PlacedProxy,
    PooledServer,
    Proxy,
    Server,
    ServerState,
)
from consul_ebpf.proxies.params import NOT_KNOWN, Denied
from tests.lab.looks import vip

pytestmark = pytest.mark.looptime(start=0)

TOKEN = Credentials(token_file="/run/web.token")
SERVED = Served(PlacedProxy(Proxy("web", "n", credentials=TOKEN), vip(0)))

UNWRITTEN = Served(SERVED.placed, trouble=Trouble("no space left on device"))

REFUSED = {"web": Refused(Trouble("no room"), name="web")}


@asynccontextmanager
async def reporting(
    directory: Path, denied: Latest[Denied] | None = None
) -> AsyncIterator[Cells]:
    cells = Cells()
    problems = ProblemFile(directory)
    clock = asyncio.get_running_loop().time
    reports = Reports(
        cells.done,
        cells.missing,
        problems,
        cells.outcome,
        denied=denied,
        pools={"grpc": cells.servers, "dns": cells.dns_pooled},
        clock=clock,
    )
    task = asyncio.create_task(reports.run())
    try:
        yield cells
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_missing_is_told_before_the_first_round(tmp_path: Path) -> None:
    """So that READY comes in time; nothing is told before."""
    async with reporting(tmp_path) as cells:
        await asyncio.sleep(60)
        assert cells.outcome.value is None
        cells.missing.set(("Consul has not answered yet",))
        await asyncio.sleep(1)
        assert cells.outcome.value == Converged(0, 0, 0, missing=cells.missing.value)  # type: ignore[arg-type]
        assert ProblemFile(tmp_path).read().missing == ["Consul has not answered yet"]


async def test_a_trouble_is_logged_before_its_outcome_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is told; and it is kept where `status` finds it."""
    async with reporting(tmp_path) as cells:
        cells.done.set(Converged(3, 0, 1, outcomes=REFUSED))
        async for done in cells.outcome.changes():
            assert done.outcomes == REFUSED
            break
        assert caplog.messages == ["not served: proxy web: no room"]
        cells.done.set(Converged(2, 0, 1, outcomes=REFUSED))
        cells.missing.set(("a.toml cannot be read",))
        await asyncio.sleep(1)
        kept = ProblemFile(tmp_path).read()
        assert kept.proxies == {"web": ["no room"]}
        assert kept.missing == ["a.toml cannot be read"]
        cells.done.set(Converged(3, 0, 0))
        cells.missing.set(())
        await asyncio.sleep(1)
        assert not ProblemFile(tmp_path).read().proxies
    assert caplog.messages[1:] == ["a.toml cannot be read"]


async def test_a_token_that_is_refused_is_told_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which one, since when; until the servers accept it again."""
    denied: Latest[Denied] = Latest()
    line = f"the ACL token in {TOKEN.token_file} {NOT_KNOWN}"
    async with reporting(tmp_path, denied) as cells:
        denied.set(Denied({"web": NOT_KNOWN}))
        await asyncio.sleep(3)
        assert cells.outcome.value is None  # before the first round nothing is told
        cells.done.set(Converged(3, 1, 0, outcomes={"web": SERVED}))
        await asyncio.sleep(9)
        cells.missing.set(("something else",))
        await asyncio.sleep(1)
        kept = ProblemFile(tmp_path).read()
        assert kept.proxies == {"web": [line]}
        about = kept.about[line]
        assert (3.0, "gets no changes" in about.means) == (about.since, True)
        assert about.do.startswith("put a valid token there")
        assert kept.about["something else"].since == 12.0
        assert caplog.messages == [f"proxy web: {line}", "something else"]
        denied.set(Denied())
        await asyncio.sleep(1)
        assert not ProblemFile(tmp_path).read().proxies


async def test_servers_that_are_all_silent_are_written_down(tmp_path: Path) -> None:
    """By service, since when; until one answers."""
    silent = PooledServer(Server.at("10.0.0.1", 8502), ServerState.READY, silent=True)
    async with reporting(tmp_path) as cells:
        cells.done.set(Converged(3, 1, 0))
        await asyncio.sleep(4)
        cells.servers.set((silent,))
        await asyncio.sleep(4)
        cells.dns_pooled.set((silent,))
        await asyncio.sleep(1)
        assert {"grpc": 4.0, "dns": 8.0} == ProblemFile(tmp_path).read().silent
        cells.servers.set((replace(silent, silent=False),))
        await asyncio.sleep(1)
        assert {"dns": 8.0} == ProblemFile(tmp_path).read().silent


async def test_a_login_is_made_again_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """So nobody is to write a token, and the log has it from who keeps it."""
    proxy = Proxy(
        "web",
        "n",
        credentials=Credentials(login=Login("jwt", bearer_token_file="/web.jwt")),
    )
    served = Served(PlacedProxy(proxy, vip(0)))
    denied: Latest[Denied] = Latest()
    async with reporting(tmp_path, denied) as cells:
        cells.done.set(Converged(3, 1, 0, outcomes={"web": served}))
        denied.set(Denied({"web": NOT_KNOWN}))
        await asyncio.sleep(1)
        kept = ProblemFile(tmp_path).read()
        (line,) = kept.proxies["web"]
        assert line == f"the ACL token of its login at jwt {NOT_KNOWN}"
        assert kept.about[line].do.startswith("nothing: it logs in again")
        assert not caplog.messages


async def test_a_refused_token_is_told_beside_other_trouble(tmp_path: Path) -> None:
    """Neither is lost: each has its own remedy."""
    denied: Latest[Denied] = Latest()
    async with reporting(tmp_path, denied) as cells:
        cells.done.set(Converged(1, 1, 0, outcomes={"web": UNWRITTEN}))
        denied.set(Denied({"web": "is not known"}))
        await asyncio.sleep(1)
        told = ProblemFile(tmp_path).read().proxies["web"]
        assert told == [
            "no space left on device",
            "the ACL token in /run/web.token is not known",
        ]
