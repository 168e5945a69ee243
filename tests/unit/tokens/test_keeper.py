"""Tokens are replaced in time, when refused, and never lost. Time is virtual."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf.model.errors import ConsulError, TokenPendingError
from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import Credentials, Login, Proxy
from consul_ebpf.testing import FakeAcl
from consul_ebpf.tokens.memory import Retired, TokenMemory
from tests.lab.tokens import Tokens

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
) -> AsyncIterator[Tokens]:
    host = Tokens(acl, directory, default, clock)
    async with host.kept():
        yield host


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


@pytest.mark.parametrize("life", [FOREVER, UNKNOWN])
@pytest.mark.parametrize("proxies", [1, 5, 200])
async def test_fault_95_tokens_without_an_end_are_looked_at_once_a_minute(
    tmp_path: Path, proxies: int, life: Lifetime
) -> None:
    """And never more than one a second on a host, however many are doubted."""
    acl = FakeAcl(life)
    names = [f"web-{n}" for n in range(proxies)]
    async with keeping(acl, tmp_path) as host:
        host.want([Proxy(name, "host1", credentials=OWN) for name in names])
        await asyncio.sleep(600)
        acl.looks = 0
        await asyncio.sleep(600)
        quiet = 600 / max(60, 2 * proxies) * proxies
        assert 0.75 * quiet - 1 <= acl.looks <= 1.3 * quiet + 1
        acl.looks = 0
        for _ in range(300):
            for name in names:
                host.doubt(name)
            await asyncio.sleep(1)
        assert acl.looks <= 310
        assert len(acl.logins) == proxies


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


async def test_another_login_of_the_host_after_a_restart(tmp_path: Path) -> None:
    """The old one's token is not taken for the new one's, even for a moment."""
    acl = FakeAcl(lifetime=3600)
    async with keeping(acl, tmp_path, Credentials(login=LOGIN)) as host:
        first = await host.secret(HOST)
    other = Credentials(login=Login("k8s", bearer_token="the-bearer"))
    async with keeping(acl, tmp_path, other) as host:
        assert first != await host.secret(HOST)
        assert host.retired == {first}


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
