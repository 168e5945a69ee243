"""Tokens that the servers come to know late. Time is virtual."""

import asyncio
from pathlib import Path

import pytest

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.lifetime import FOREVER, Lifetime
from consul_ebpf.model.values import Login, Proxy
from consul_ebpf.testing import FakeAcl
from tests.lab.keeping import WEB, clock, keeping

pytestmark = pytest.mark.looptime(start=0)


async def test_fault_96_a_new_token_that_is_slow_to_arrive_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The old one stays in use, the new one is not thrown away, nor asked for often."""
    acl = FakeAcl(3600)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        acl.lagging = True
        while len(acl.logins) < 2:
            await asyncio.sleep(1)
        acl.looks = 0
        await asyncio.sleep(200)
        assert await host.secret("web") == first
        assert acl.looks < 25
        assert not host.retired
        acl.lagging = False
        assert await host.secret("web", but=first) == "secret-2"
        assert len(acl.logins) == 2
    assert caplog.text.count("no server knows its new ACL token yet") == 1


async def test_fault_96_a_first_token_that_is_slow_to_arrive(tmp_path: Path) -> None:
    """Whoever waits for it knows why; one that never comes is replaced in the end."""
    acl = FakeAcl(FOREVER)
    acl.lagging = True
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        await asyncio.sleep(120)
        assert len(acl.logins) == 1
        assert "no server knows its new ACL token yet" in host.missing["web"]
        await asyncio.sleep(3600)
        assert 2 <= len(acl.logins) <= 4
        assert len(host.retired) == len(acl.logins) - 1
        acl.lagging = False
        assert await host.secret("web") == f"secret-{len(acl.logins)}"


async def test_a_server_that_lags_for_ever_holds_nobody_up(tmp_path: Path) -> None:
    """A token that some know is used: soon, or later while the old one works."""
    acl = FakeAcl(600)
    acl.partly = True
    async with keeping(acl, tmp_path) as host:
        begun = clock()
        host.want([WEB])
        first = await host.secret("web")
        assert 5 <= clock() - begun < 15
        while len(acl.logins) < 2:
            await asyncio.sleep(1)
        begun = clock()
        await host.secret("web", but=first)
        assert 55 < clock() - begun < 90


async def test_a_lifetime_told_later_is_taken(tmp_path: Path) -> None:
    """Nobody could be asked at the login; asked again at a look."""
    acl = FakeAcl()
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        acl.life = Lifetime(600)
        begun = clock()
        await host.secret("web", but=first)
        assert 290 < clock() - begun < 370


async def test_a_new_token_waits_for_no_look_at_others(tmp_path: Path) -> None:
    """However many of those are due: its pod could not start meanwhile."""

    class LaggingAcl(FakeAcl):
        async def accepted(self, secret: str) -> bool:
            self.lagging = secret in fresh and clock() < fresh[secret]
            return await super().accepted(secret)

        async def login(self, how: Login) -> str:
            secret = await super().login(how)
            fresh[secret] = clock() + 0.5  # the third question is the first one late
            return secret

    fresh: dict[str, float] = {}
    acl = LaggingAcl(FOREVER)
    old = [Proxy(f"old-{n}", "h", credentials=WEB.credentials) for n in range(150)]
    async with keeping(acl, tmp_path) as host:
        host.want(old)
        await asyncio.sleep(300)
        for proxy in old:
            host.doubt(proxy.key)
        await asyncio.sleep(5)
        begun = clock()
        new = [Proxy(f"new-{n}", "h", credentials=WEB.credentials) for n in range(20)]
        host.want([*old, *new])
        for proxy in new:
            await host.secret(proxy.key)
        assert clock() - begun < 10


async def test_a_login_that_took_long_makes_a_new_token(tmp_path: Path) -> None:
    """Its life begins when it is made, and not when it was first asked for."""
    acl = FakeAcl(lifetime=60)
    acl.failure = ConsulError("no Consul server answers")
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        await asyncio.sleep(600)
        acl.failure = None
        await host.secret("web")
        await asyncio.sleep(25)
        assert len(acl.logins) == 1
