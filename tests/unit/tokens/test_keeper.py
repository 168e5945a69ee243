"""Tokens are replaced in time, when refused, and never lost. Time is virtual."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf.model.errors import ConsulError, TokenPendingError
from consul_ebpf.model.values import Credentials, Login, Proxy
from consul_ebpf.testing import FakeAcl
from consul_ebpf.tokens.keeper import TokenKeeper
from consul_ebpf.tokens.keys import HOST
from consul_ebpf.tokens.memory import Retired, TokenMemory

pytestmark = pytest.mark.looptime(start=0)

LOGIN = Login("jwt", bearer_token="the-bearer")
OWN = Credentials(login=Login("jwt", bearer_token_file="/run/web.jwt"))
WEB = Proxy("web", "host1", credentials=OWN)
PLAIN = Proxy("plain", "host1")


def clock() -> float:
    """Unix time that goes with the loop's."""
    return 1e9 + asyncio.get_running_loop().time()


@asynccontextmanager
async def keeping(
    acl: FakeAcl, directory: Path, default: Credentials | None = None
) -> AsyncIterator[TokenKeeper]:
    keeper = TokenKeeper(acl, TokenMemory(directory), default, clock)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception():
            await task


async def secret(keeper: TokenKeeper, key: str, but: str = "") -> str:
    """Wait for a key's token, another one than `but`."""
    async for tokens in keeper.tokens.changes():
        found = tokens.secrets.get(key, "")
        if found and found != but:
            return found
    raise AssertionError


async def test_each_proxy_logs_in_for_itself_and_others_share(tmp_path: Path) -> None:
    """A proxy without credentials of its own uses the host's."""
    acl = FakeAcl(lifetime=60)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as keeper:
        with pytest.raises(TokenPendingError):
            keeper.host_token()
        keeper.want([WEB, PLAIN])
        mine, host = await secret(keeper, "web"), await secret(keeper, HOST)
        assert {mine, host} == acl.valid
        assert keeper.host_token() == host
        tokens = keeper.tokens.value
        assert tokens
        assert tokens.needed == {HOST, "web"}


async def test_it_is_replaced_in_time_and_the_old_one_kept(tmp_path: Path) -> None:
    """Nobody logs it out before its user has the new one."""
    acl = FakeAcl(lifetime=60)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        first = await secret(keeper, "web")
        begun = clock()
        second = await secret(keeper, "web", but=first)
        assert 25 < clock() - begun < 40
        assert {first, second} == acl.valid
        await asyncio.sleep(0)
        (retired,) = keeper.retired.value or ()
        assert (retired.key, retired.secret) == ("web", first)
        await keeper.log_out(retired)
        assert {second} == acl.valid
        assert not keeper.retired.value


async def test_a_refused_token_is_replaced_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as somebody doubts it, and in a minute anyway; said by name."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        first = await secret(keeper, "web")
        acl.valid.discard(first)
        keeper.doubt("web")
        begun = clock()
        second = await secret(keeper, "web", but=first)
        assert clock() - begun < 2
        acl.valid.discard(second)
        third = await secret(keeper, "web", but=second)
        assert clock() - begun < 80
        keeper.doubt("web")
        await asyncio.sleep(5)
        assert (await secret(keeper, "web")) == third
    assert "proxy web: the servers refuse its ACL token" in caplog.text


async def test_a_lifetime_that_nobody_tells_is_learned(tmp_path: Path) -> None:
    """Found refused once; from then on it is replaced before."""
    acl = FakeAcl(lifetime=None)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        first = await secret(keeper, "web")
        await asyncio.sleep(100)
        acl.valid.discard(first)
        second = await secret(keeper, "web", but=first)
        begun = clock()
        third = await secret(keeper, "web", but=second)
        assert second in acl.valid
        assert 40 < clock() - begun < 70
        assert third != second


async def test_a_login_that_fails_is_tried_again_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in the log; what waits for it knows why; the old token goes on."""
    acl = FakeAcl(lifetime=60)
    acl.failure = ConsulError("no Consul server answers")
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        await asyncio.sleep(30)
        tokens = keeper.tokens.value
        assert tokens
        assert "auth method jwt: no Consul server" in tokens.waiting["web"]
        acl.failure = None
        first = await secret(keeper, "web")
        acl.failure = ConsulError("away")
        await asyncio.sleep(50)
        assert (await secret(keeper, "web")) == first
        acl.failure = None
        assert first != await secret(keeper, "web", but=first)
    told = [r for r in caplog.records if "no Consul server answers" in r.getMessage()]
    assert len(told) == 1


async def test_a_restart_makes_no_new_ones(tmp_path: Path) -> None:
    """The file has them, with what is still to be logged out; no bearer token."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as keeper:
        keeper.want([WEB])
        first = {await secret(keeper, "web"), await secret(keeper, HOST)}
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as keeper:
        await asyncio.sleep(10)  # the proxies are not known yet
        assert not keeper.retired.value
        keeper.want([WEB])
        assert first == {await secret(keeper, "web"), await secret(keeper, HOST)}
    assert len(acl.logins) == 2
    text = (tmp_path / "tokens.json").read_text()
    assert "the-bearer" not in text
    assert json.loads(text)["content"]["retired"] == []
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600


async def test_a_proxy_that_goes_leaves_its_token_to_be_logged_out(
    tmp_path: Path,
) -> None:
    """Also where it went while no controller ran."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        first = await secret(keeper, "web")
        keeper.want([])
        async for retired in keeper.retired.changes():
            if retired:
                break
        assert retired == (Retired("web", retired[0].how, first),)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        second = await secret(keeper, "web")
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([])
        await asyncio.sleep(1)
        assert {each.secret for each in keeper.retired.value or ()} == {first, second}


async def test_one_that_goes_while_its_token_is_replaced_leaves_both(
    tmp_path: Path,
) -> None:
    """The new one was not in use yet, the old one still was: on disk all the time."""
    acl = FakeAcl(lifetime=60)
    other = Proxy("api", "host1", credentials=OWN)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        first = await secret(keeper, "web")
        acl.lagging = True
        while len(acl.logins) < 2:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        keeper.want([WEB, other])  # somebody else's token is kept meanwhile
        await asyncio.sleep(1)
        assert (await secret(keeper, "web")) == first
        _, retired = TokenMemory(tmp_path).load()
        assert [each.secret for each in retired] == [first]
        keeper.want([other])
        await asyncio.sleep(1)
        retired = list(keeper.retired.value or ())
        assert [each.secret for each in retired] == [first, "secret-2"]


async def test_another_login_for_the_same_proxy(tmp_path: Path) -> None:
    """Other metadata make another token; another bearer token file alone, too."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path) as keeper:
        keeper.want([WEB])
        first = await secret(keeper, "web")
        other = Credentials(login=Login("jwt", "b", meta=(("pod", "x"),)))
        keeper.want([Proxy("web", "host1", credentials=other)])
        second = await secret(keeper, "web", but=first)
        assert acl.logins[-1].meta == (("pod", "x"),)
        assert second


async def test_another_login_of_the_host_after_a_restart(tmp_path: Path) -> None:
    """The old one's token is not taken for the new one's, even for a moment."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as keeper:
        first = await secret(keeper, HOST)
    other = Credentials(login=Login("k8s", bearer_token="the-bearer"))
    async with keeping(acl, tmp_path, other) as keeper:
        assert first != await secret(keeper, HOST)
        assert [each.secret for each in keeper.retired.value or ()] == [first]


async def test_nothing_shows_a_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a repr nor a line."""
    caplog.set_level(logging.DEBUG)
    acl = FakeAcl(lifetime=60)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as keeper:
        await secret(keeper, HOST)
        await asyncio.sleep(200)
        shown = f"{keeper!r} {keeper.tokens!r} {keeper.retired!r} {caplog.text}"
    assert "secret-" not in shown
    assert "the-bearer" not in shown
