"""Tokens are replaced in time, when refused, and never lost. Time is virtual."""

import asyncio
import json
import logging
import os
from pathlib import Path

import pytest

from consul_ebpf.model.errors import ConsulError, TokenPendingError
from consul_ebpf.model.lifetime import FOREVER
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import Credentials, Login, Proxy
from consul_ebpf.testing import FakeAcl
from tests.lab.keeping import LOGIN, PLAIN, WEB, clock, keeping

pytestmark = pytest.mark.looptime(start=0)


async def test_each_proxy_logs_in_for_itself_and_others_share(tmp_path: Path) -> None:
    """A proxy without credentials of its own uses the host's."""
    acl = FakeAcl(lifetime=60)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        with pytest.raises(TokenPendingError):
            host.keeper.host_token()
        host.want([WEB, PLAIN])
        mine, shared = await host.secret("web"), await host.secret(HOST)
        assert {mine, shared} == acl.valid
        assert host.keeper.host_token() == shared
        assert set(host.keeper.tokens.value or ()) == {HOST, "web"}


async def test_it_is_replaced_in_time_and_the_old_one_kept(tmp_path: Path) -> None:
    """Nobody logs it out before its user has the new one."""
    acl = FakeAcl(lifetime=60)
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        first = await host.secret("web")
        begun = clock()
        second = await host.secret("web", but=first)
        assert 25 < clock() - begun < 40
        assert {first, second} == acl.valid
        await asyncio.sleep(0)
        (retired,) = host.keeper.retired.value or ()
        assert (retired.key, retired.secret) == ("web", first)
        host.unused.set(frozenset({retired}))
        await asyncio.sleep(1)
        assert {second} == acl.valid
        assert not host.retired


async def test_a_lifetime_that_nobody_tells_is_learned(tmp_path: Path) -> None:
    """Found refused twice; from then on it is replaced before."""
    acl = FakeAcl()
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        newest = await host.secret("web")
        for _ in range(2):
            await asyncio.sleep(200)
            assert newest in acl.valid
            acl.valid.discard(newest)
            host.doubt("web")
            newest = await host.secret("web", but=newest)
        begun = clock()
        third = await host.secret("web", but=newest)
        assert newest in acl.valid
        assert 80 < clock() - begun < 140
        assert third != newest


async def test_credentials_that_say_nothing(tmp_path: Path) -> None:
    """The proxy waits, with what is missing."""
    async with keeping(FakeAcl(), tmp_path, Credentials()) as host:
        await asyncio.sleep(1)
        with pytest.raises(TokenPendingError, match="neither token, token_file nor"):
            host.keeper.host_token()


async def test_fault_93_six_fifos_stop_no_thread(tmp_path: Path) -> None:
    """Tokens from files that are none wait with a reason; another's comes at once."""
    proxies = []
    for name in range(6):
        os.mkfifo(tmp_path / f"{name}.fifo")
        file = Credentials(token_file=str(tmp_path / f"{name}.fifo"))
        proxies.append(Proxy(f"web-{name}", "host1", credentials=file))
    (tmp_path / "token").write_text("good")
    good = Credentials(token_file=str(tmp_path / "token"))
    async with keeping(FakeAcl(), tmp_path) as host:
        host.want([*proxies, Proxy("good", "host1", credentials=good)])
        assert await host.secret("good") == "good"
        async for _ in host.keeper.tokens.changes():
            if len(host.missing) == 6:
                break
        assert all("is a FIFO" in why for why in host.missing.values())


async def test_an_error_nobody_foresaw_ends_one_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others go on, and so does that one after a pause."""

    class OddAcl(FakeAcl):
        async def login(self, how: Login) -> str:
            if how.auth_method == "odd" and not self.logins:
                self.logins.append(how)
                raise ZeroDivisionError("odd")
            return await super().login(how)

    odd = Credentials(login=Login("odd", bearer_token="b"))
    async with keeping(OddAcl(FOREVER), tmp_path, odd) as host:
        host.want([WEB])
        await host.secret("web")
        assert await host.secret(HOST)
    assert "ACL token of consul.credentials: ZeroDivisionError: odd" in caplog.text


async def test_a_login_that_fails_is_tried_again_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in the log; what waits for it knows why; the old token goes on."""
    acl = FakeAcl(lifetime=60)
    acl.failure = ConsulError("no Consul server answers")
    async with keeping(acl, tmp_path) as host:
        host.want([WEB])
        await asyncio.sleep(30)
        assert "auth method jwt: no Consul server" in host.missing["web"]
        acl.failure = None
        first = await host.secret("web")
        acl.failure = ConsulError("away")
        await asyncio.sleep(50)
        assert (await host.secret("web")) == first
        acl.failure = None
        assert first != await host.secret("web", but=first)
    told = [r for r in caplog.records if "no Consul server answers" in r.getMessage()]
    assert len(told) == 1


async def test_a_restart_makes_no_new_ones(tmp_path: Path) -> None:
    """The file has them, with what is still to be logged out; no bearer token."""
    acl = FakeAcl(lifetime=3600)
    pod = Login(
        "jwt", bearer_token_file="/run/web.jwt", meta=(("pod", "x"), ("n", "1"))
    )
    web = Proxy("web", "host1", credentials=Credentials(login=pod))
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        host.want([web])
        first = {await host.secret("web"), await host.secret(HOST)}
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        await asyncio.sleep(10)  # the proxies are not known yet
        assert not host.retired
        host.want([web])
        assert first == {await host.secret("web"), await host.secret(HOST)}
    assert len(acl.logins) == 2
    text = (tmp_path / "tokens.json").read_text()
    assert "the-bearer" not in text
    assert json.loads(text)["content"]["retired"] == []
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600


async def test_a_newer_bearer_token_makes_no_other_token(tmp_path: Path) -> None:
    """The one there is goes on, without a moment of none; the next login uses it."""
    acl = FakeAcl(lifetime=3600)

    def web(bearer: str) -> Proxy:
        login = Login("jwt", bearer_token=bearer)
        return Proxy("web", "host1", credentials=Credentials(login=login))

    async with keeping(acl, tmp_path) as host:
        host.want([web("one")])
        first = await host.secret("web")
        version = host.keeper.tokens.version
        host.want([web("two")])
        await asyncio.sleep(60)
        assert host.keeper.tokens.version == version
        assert not host.retired
        acl.valid.discard(first)
        host.doubt("web")
        await host.secret("web", but=first)
        assert [each.bearer_token for each in acl.logins] == ["one", "two"]


async def test_nothing_shows_a_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a repr nor a line."""
    caplog.set_level(logging.DEBUG)
    acl = FakeAcl(lifetime=60)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        await host.secret(HOST)
        await asyncio.sleep(200)
        keeper = host.keeper
        shown = f"{keeper!r} {keeper.tokens!r} {keeper.retired!r} {caplog.text}"
        shown += f"{keeper.tokens.value!r} {vars(keeper)}"
    assert "secret-" not in shown
    assert "the-bearer" not in shown
