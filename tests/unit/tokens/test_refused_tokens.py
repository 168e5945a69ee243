"""Tokens that the servers refuse, or that somebody deleted. Time is virtual."""

import asyncio
from pathlib import Path

import pytest

from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import Credentials, Proxy
from consul_ebpf.testing import FakeAcl
from tests.lab.keeping import LOGIN, OWN, PLAIN, WEB, clock, keeping

pytestmark = pytest.mark.looptime(start=0)


async def test_a_refused_token_is_replaced_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as somebody doubts it, and in a minute anyway; said by name."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        acl.valid.discard(first)
        host.doubt("web")
        begun = clock()
        second = await host.secret("web", but=first)
        assert clock() - begun < 2
        acl.valid.discard(second)
        third = await host.secret("web", but=second)
        assert clock() - begun < 80
        host.doubt("web")
        await asyncio.sleep(5)
        assert (await host.secret("web")) == third
    assert "proxy web: the servers refuse its ACL token" in caplog.text


@pytest.mark.parametrize("life", [FOREVER, UNKNOWN])
async def test_fault_94_one_deleted_token_costs_one_login(
    tmp_path: Path, life: Lifetime
) -> None:
    """It teaches no lifetime."""
    acl = FakeAcl(life)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        await asyncio.sleep(10)
        acl.valid.discard(first)
        host.doubt("web")
        begun = clock()
        second = await host.secret("web", but=first)
        assert clock() - begun < 3
        await asyncio.sleep(10 * 3600)
        assert await host.secret("web") == second
        assert len(acl.logins) == 2


async def test_fault_94_tokens_that_somebody_goes_on_deleting(tmp_path: Path) -> None:
    """No login every few seconds: each waits longer, up to a minute."""
    acl = FakeAcl(FOREVER)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        newest = ""
        end = clock() + 3600
        while clock() < end:
            newest = await host.secret("web", but=newest)
            await asyncio.sleep(2)
            acl.valid.discard(newest)
            host.doubt("web")
        assert 50 < len(acl.logins) < 75


@pytest.mark.parametrize(("life", "seconds"), [(FOREVER, 600), (UNKNOWN, 60)])
@pytest.mark.parametrize("proxies", [1, 5, 200])
async def test_fault_95_tokens_without_an_end_are_hardly_looked_at(
    tmp_path: Path, proxies: int, life: Lifetime, seconds: float
) -> None:
    """Never more than one a second on a host, however many are doubted.

    Once a minute only where the lifetime has to be learned: else the question about the
    proxy's bootstrap tells as soon.
    """
    acl = FakeAcl(life)
    names = [f"web-{n}" for n in range(proxies)]
    async with keeping(acl, tmp_path) as host:
        host.want([Proxy(name, "host1", credentials=OWN) for name in names])
        await asyncio.sleep(600)
        acl.looks = 0
        await asyncio.sleep(600)
        quiet = 600 / max(seconds, 2 * proxies) * proxies
        assert 0.75 * quiet - 1 <= acl.looks <= 1.3 * quiet + 1
        acl.looks = 0
        for _ in range(300):
            for name in names:
                host.doubt(name)
            await asyncio.sleep(1)
        assert acl.looks <= 310
        assert len(acl.logins) == proxies


async def test_whose_token_is_checked_when_a_proxy_connects_anew(
    tmp_path: Path,
) -> None:
    """The host's, unless the proxy has credentials of its own."""
    (tmp_path / "token").write_text("from-a-file")
    file = Credentials(token_file=str(tmp_path / "token"))
    filed = Proxy("filed", "host1", credentials=file)
    acl = FakeAcl(FOREVER)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        host.want([WEB, PLAIN, filed])
        mine, shared = await host.secret("web"), await host.secret(HOST)
        await asyncio.sleep(10)  # a look of nobody's asking is a minute away
        acl.valid -= {mine, shared}
        host.doubt("filed")
        await asyncio.sleep(2)
        assert len(acl.logins) == 2
        host.doubt("plain")
        await host.secret(HOST, but=shared)
        assert len(acl.logins) == 3
        host.doubt("web")
        await host.secret("web", but=mine)
