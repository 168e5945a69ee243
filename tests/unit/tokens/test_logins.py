"""Logins: few at a time, in order, and none whose token is nobody's. Virtual time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.lifetime import FOREVER, Lifetime
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import Credentials, Login, Proxy
from consul_ebpf.testing import FakeAcl
from consul_ebpf.tokens.logins import AT_ONCE, FINISH_SECONDS
from consul_ebpf.tokens.memory import TokenMemory
from tests.lab.keeping import LOGIN, OWN, WEB, clock, keeping

pytestmark = pytest.mark.looptime(start=0)

ENDED = replace(WEB, ended=True)


class SlowAcl(FakeAcl):
    """Takes its time for logins, and remembers how many it had at once."""

    def __init__(self, seconds: float = 2) -> None:
        super().__init__(FOREVER)
        self.seconds = seconds
        self.most = self.now = 0
        self.order: list[str] = []

    async def login(self, how: Login) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        self.order.append(how.bearer_token_file or how.bearer_token)
        try:
            await asyncio.sleep(self.seconds)
            return await super().login(how)
        finally:
            self.now -= 1


def pods(count: int) -> list[Proxy]:
    return [
        Proxy(f"web-{n}", "h", credentials=Credentials(login=Login("k8s", "", f"/{n}")))
        for n in range(count)
    ]


async def test_a_hundred_pods_log_in_four_at_a_time(tmp_path: Path) -> None:
    """In the order in which they came; those that wait are counted."""
    acl = SlowAcl()
    async with keeping(acl, tmp_path) as host:
        host.want(pods(110))
        await asyncio.sleep(1)
        assert host.keeper.logins_queued == 110 - AT_ONCE
        await asyncio.sleep(60)
        assert acl.most == AT_ONCE
        assert len(acl.logins) == 110
        assert acl.order == [f"/{n}" for n in range(110)]
        assert host.keeper.logins_queued == 0


async def test_logins_that_fail_are_counted_until_they_succeed(tmp_path: Path) -> None:
    """The log says it once, and an alert has to go on."""
    acl = FakeAcl(FOREVER)
    acl.failure = ConsulError("no such auth method")
    async with keeping(acl, tmp_path) as host:
        host.want(pods(3))
        await asyncio.sleep(100)
        assert host.keeper.logins_failing == 3
        host.want(pods(2))
        await asyncio.sleep(1)
        assert host.keeper.logins_failing == 2
        acl.failure = None
        await asyncio.sleep(60)
        assert host.keeper.logins_failing == 0


async def test_the_host_never_waits_for_its_pods(tmp_path: Path) -> None:
    """Nothing works without its token."""
    acl = SlowAcl()
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        host.want(pods(50))
        first = await host.secret(HOST)
        begun = clock()
        acl.valid.discard(first)
        host.doubt(HOST)
        await host.secret(HOST, but=first)
        assert clock() - begun < 5


async def test_one_that_fails_gives_its_turn_to_others(tmp_path: Path) -> None:
    """However many fail for ever, and also where they go while they wait."""
    bad = [
        Proxy(f"bad-{n}", "h", credentials=Credentials(login=Login("bad", "b")))
        for n in range(20)
    ]

    class OneBadMethod(SlowAcl):
        async def login(self, how: Login) -> str:
            if how.auth_method == "bad":
                await asyncio.sleep(1)
                raise ConsulError("Permission denied")
            return await super().login(how)

    async with keeping(OneBadMethod(), tmp_path) as host:
        host.want([*bad, WEB])
        assert await host.secret("web")
        host.want([*bad[:10]])
        host.want([*bad, *pods(3)])
        for name in ("web-0", "web-1", "web-2"):
            assert await host.secret(name)


async def test_fault_k_a_controller_that_ends_leaves_no_token_that_nobody_knows(
    tmp_path: Path,
) -> None:
    """A login under way is waited for, and its token is on disk as one to log out."""
    acl = SlowAcl(5)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        await asyncio.sleep(1)
    _, retired = TokenMemory(tmp_path).load()
    assert {each.secret for each in retired} == acl.valid == {"secret-1"}


async def test_a_login_that_hangs_does_not_keep_a_controller_from_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said that its token may be left."""
    async with keeping(SlowAcl(1000), tmp_path) as host:
        host.want([WEB])
        await asyncio.sleep(1)
        begun = clock()
    assert clock() - begun == pytest.approx(FINISH_SECONDS, abs=0.5)
    assert "1 logins did not end within 8 s" in caplog.text


async def test_fault_k_a_token_that_went_with_its_pod_is_not_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, no login, and it keeps what it has; back again, it logs in."""
    caplog.set_level("INFO")
    acl = FakeAcl(FOREVER)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        host.want([ENDED])
        acl.valid.discard(first)
        host.doubt("web")
        await asyncio.sleep(600)
        host.doubt("web")
        await asyncio.sleep(600)
        assert await host.secret("web") == first
        assert len(acl.logins) == 1
        (told,) = [text for text in caplog.messages if "its pod ends" in text]
        assert "proxy web: " in told
        assert {each.levelname for each in caplog.records} == {"INFO"}
        host.want([WEB])
        await host.secret("web", but=first)
        assert len(acl.logins) == 2


async def test_a_proxy_that_has_ended_never_logs_in(tmp_path: Path) -> None:
    """Not for a first token, nor from the queue, nor where its token gets old."""
    acl = SlowAcl()
    async with keeping(acl, tmp_path) as host:
        host.want([ENDED])
        await asyncio.sleep(100)
        assert not acl.logins
        others = pods(AT_ONCE)
        host.want([*others, ENDED])
        await asyncio.sleep(0.5)
        host.want([*others, WEB])
        await asyncio.sleep(0.5)
        host.want([*others, ENDED])
        await asyncio.sleep(100)
        assert len(acl.logins) == AT_ONCE
    acl.life = Lifetime(300)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        host.want([ENDED])
        count = len(acl.logins)
        await asyncio.sleep(400)
        assert len(acl.logins) == count
        assert await host.secret("web") == first


async def test_a_proxy_that_has_ended_leaves_its_token_to_be_logged_out(
    tmp_path: Path,
) -> None:
    """Once its source no longer names it."""
    acl = FakeAcl(FOREVER)
    async with keeping(acl, tmp_path) as host:
        host.want([Proxy("api", "h", credentials=OWN, ended=True), WEB])
        first = await host.secret("web")
        host.want([ENDED])
        await asyncio.sleep(1)
        assert not host.retired
        host.want([])
        await asyncio.sleep(1)
        assert host.retired == {first}
