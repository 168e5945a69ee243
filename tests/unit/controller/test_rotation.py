"""How Envoys move to a new token, and what is logged out. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf import (
    Credentials,
    KernelState,
    Login,
    Proxy,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.outcomes import Converged, Served
from consul_ebpf.controller.rotation import Rotator
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import PlacedProxy, VipCounters
from consul_ebpf.testing import FakeAcl, FakeNamespaces, MemoryMapBackend
from consul_ebpf.tokens.memory import Retired, Session, TokenMemory
from tests.lab.tokens import Tokens

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

ONE = Server.at("10.0.0.1", 8502)
HOW = Login("jwt", bearer_token="b")
DEFAULT = Credentials(login=HOW)
VIPS = tuple(Vip(IPv4Address(f"127.64.0.{n}"), 8502) for n in range(1, 4))


class Backend(MemoryMapBackend):
    """Three VIPs, a connection each, and one more once that is cut."""

    def __init__(self, open_: Mapping[int, Server]) -> None:
        super().__init__()
        self._open = open_
        self.odd: Exception | None = None

    def read(self) -> KernelState:
        if self.odd is not None:
            odd, self.odd = self.odd, None
            raise odd
        rows = {0: SlottedServer(0, ONE, ServerState.READY)}
        vips = {
            vip: VipCounters(1 + (n not in self._open), 0, ((n, 0),))
            for n, vip in enumerate(VIPS, 1)
        }
        return KernelState(Table(rows, dict.fromkeys(VIPS, (0,))), {}, vips)


class Host:
    """Three proxies with the host's token, a connection each; `acl` has the tokens."""

    def __init__(self, directory: Path) -> None:
        self.acl = FakeAcl(3600)
        self.tokens = Tokens(self.acl, directory, DEFAULT)
        self.namespaces = FakeNamespaces(sockets=dict.fromkeys((1, 2, 3), ONE))
        self.backend = Backend(self.namespaces.sockets)
        tables = Tables(KernelTable(self.backend, ""), Progress(), Latest())
        self.outcome: Latest[Converged] = Latest()
        self.rotator = Rotator(
            self.tokens.keeper.retired,
            self.outcome,
            tables,
            self.namespaces,
            self.tokens.unused,
        )

    def write(self, *secrets: str | None) -> None:
        """Say what the proxies' files hold."""
        served = {
            f"web-{vip}": Served(PlacedProxy(Proxy(f"web-{vip}", "h"), vip), secret)
            for vip, secret in zip(VIPS, secrets, strict=False)
        }
        self.outcome.set(Converged(1, len(served), 0, outcomes=served))

    @property
    def cut(self) -> set[int]:
        return {1, 2, 3} - set(self.namespaces.sockets)

    @asynccontextmanager
    async def rotating(self, *, until: int = 2) -> AsyncIterator[None]:
        """Run until as many logins were made; `secret-1` was in all files."""
        work = (self.tokens.keeper.run(), self.rotator.run())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            self.write(*["secret-1"] * 3)
            self.tokens.want([Proxy("web", "host1")])
            while len(self.acl.logins) < until:
                await asyncio.sleep(10)
            yield
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_all_move_and_the_old_one_is_logged_out(tmp_path: Path) -> None:
    """Once every file holds the new one; each stays with its server."""
    host = Host(tmp_path)
    async with host.rotating():
        assert host.acl.valid == {"secret-1", "secret-2"}
        assert host.cut == set()
        host.write(*["secret-2"] * 3)
        await asyncio.sleep(30)
        assert host.cut == {1, 2, 3}
        assert host.backend.stayed == list(VIPS)
        assert host.acl.valid == {"secret-2"}
        assert not host.tokens.retired
        assert not host.tokens.unused.value


@pytest.mark.parametrize("held", ["secret-1", None])
async def test_a_file_that_holds_the_old_one_keeps_it_alive(
    tmp_path: Path, held: str | None
) -> None:
    """The others move; the old one is logged out once that file is written, too."""
    host = Host(tmp_path)
    async with host.rotating():
        host.write("secret-2", held, "secret-2")
        await asyncio.sleep(60)
        assert host.cut == {1, 3}
        assert host.acl.valid == {"secret-1", "secret-2"}
        host.write("secret-2", "secret-2", "secret-2")
        await asyncio.sleep(30)
        assert host.cut == {1, 2, 3}
        assert host.acl.valid == {"secret-2"}


async def test_a_proxy_that_goes_holds_nothing_up(tmp_path: Path) -> None:
    """Its file is gone with it."""
    host = Host(tmp_path)
    async with host.rotating():
        host.write("secret-2", "secret-1")
        await asyncio.sleep(30)
        host.write("secret-2")
        await asyncio.sleep(30)
        assert host.acl.valid == {"secret-2"}


async def test_a_token_that_no_envoy_had_is_logged_out_alone(tmp_path: Path) -> None:
    """Nothing is cut for it."""
    memory = TokenMemory(tmp_path)
    unused = Retired(HOST, HOW, "unused", used=False)
    memory.save({HOST: Session(HOW, "secret-0", 0, 0)}, [unused])
    host = Host(tmp_path)
    host.acl.valid |= {"unused", "secret-0"}
    async with host.rotating(until=0):
        host.write(*["secret-0"] * 3)
        await asyncio.sleep(30)
        assert host.cut == set()
        assert host.acl.valid == {"secret-0"}


async def test_an_error_nobody_foresaw_ends_one_rotation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It begins again after a pause."""
    host = Host(tmp_path)
    host.backend.odd = ZeroDivisionError("odd")
    async with host.rotating():
        host.write(*["secret-2"] * 3)
        await asyncio.sleep(30)
        assert host.acl.valid == {"secret-2"}
    assert "rotation of consul.credentials: ZeroDivisionError: odd" in caplog.text
