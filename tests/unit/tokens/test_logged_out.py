"""Tokens that nobody needs any more are logged out, and no others. Time is virtual."""

import asyncio
from pathlib import Path

import pytest

from consul_ebpf.model.lifetime import FOREVER
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import Credentials, Login, Proxy
from consul_ebpf.testing import FakeAcl
from consul_ebpf.tokens.memory import Retired, TokenMemory
from tests.lab.keeping import LOGIN, OWN, PLAIN, WEB, clock, keeping

pytestmark = pytest.mark.looptime(start=0)


async def test_a_login_that_nobody_wants_any_more_is_logged_out(tmp_path: Path) -> None:
    """Also where its token comes after its proxy is gone."""

    class SlowAcl(FakeAcl):
        async def login(self, how: Login) -> str:
            await asyncio.sleep(2)
            return await super().login(how)

    acl = SlowAcl(FOREVER)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        await asyncio.sleep(1)
        host.want([])
        await asyncio.sleep(5)
        assert host.retired == {"secret-1"}


async def test_many_that_go_at_once_hold_nobody_up(tmp_path: Path) -> None:
    """Each is given a moment to end its login, all the same one."""

    class StuckAcl(FakeAcl):
        async def login(self, how: Login) -> str:
            if how.bearer_token_file:
                await asyncio.sleep(1000)
            return await super().login(how)

    async with keeping(StuckAcl(FOREVER), tmp_path) as host:
        host.want([Proxy(f"web-{n}", "host1", credentials=OWN) for n in range(50)])
        await asyncio.sleep(1)
        begun = clock()
        host.want([Proxy("new", "host1", credentials=Credentials(login=LOGIN))])
        await host.secret("new")
        assert clock() - begun < 5


async def test_a_proxy_that_goes_leaves_its_token_to_be_logged_out(
    tmp_path: Path,
) -> None:
    """Also where it went while no controller ran."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        host.want([])
        async for retired in host.keeper.retired.changes():
            if retired:
                break
        assert retired == (Retired("web", retired[0].how, first),)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        second = await host.secret("web")
    async with keeping(acl, tmp_path) as host:
        host.want([])
        await asyncio.sleep(1)
        assert host.retired == {
            first,
            second,
        }


async def test_one_that_goes_while_its_token_is_replaced_leaves_both(
    tmp_path: Path,
) -> None:
    """The new one was not in use yet, the old one still was: on disk all the time."""
    acl = FakeAcl(lifetime=300)
    other = Proxy("api", "host1", credentials=OWN)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        acl.lagging = True
        while len(acl.logins) < 2:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        host.want([WEB, other])  # somebody else's token is kept meanwhile
        await asyncio.sleep(1)
        assert (await host.secret("web")) == first
        current, retired = TokenMemory(tmp_path).load()
        assert current["web"].secret == first
        assert {each.secret for each in retired} == {"secret-2", "secret-3"}
        host.want([other])
        await asyncio.sleep(1)
        assert host.retired == {
            first,
            "secret-2",
        }


async def test_another_login_for_the_same_proxy(tmp_path: Path) -> None:
    """Other metadata make another token; another bearer token file alone, too."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        other = Credentials(login=Login("jwt", "b", meta=(("pod", "x"),)))
        host.want([Proxy("web", "host1", credentials=other)])
        second = await host.secret("web", but=first)
        assert acl.logins[-1].meta == (("pod", "x"),)
        assert second


async def test_another_login_of_the_host_after_a_restart(tmp_path: Path) -> None:
    """The old one's token is not taken for the new one's, even for a moment."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        first = await host.secret(HOST)
    other = Credentials(login=Login("k8s", bearer_token="the-bearer"))
    async with keeping(acl, tmp_path, other) as host:
        assert first != await host.secret(HOST)
        assert host.retired == {first}


async def test_fault_81_what_may_still_exist_is_not_logged_out(tmp_path: Path) -> None:
    """While not all proxies are named, an earlier process's tokens stay."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
    async with keeping(acl, tmp_path) as host:
        host.want([PLAIN], all_named=False)
        await asyncio.sleep(30)
        assert not host.retired
        host.want([PLAIN, WEB], all_named=False)
        assert await host.secret("web") == first
        host.want([PLAIN])
        await asyncio.sleep(1)
        assert host.retired == {first}
