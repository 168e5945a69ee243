"""Rotation believes what a round wrote, of each proxy. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.progress import Progress
from consul_ebpf.controller.kernel_table import KernelTable
from consul_ebpf.controller.outcomes import Converged, Refused, Served, Trouble
from consul_ebpf.controller.rotation import Rotator, written_by
from consul_ebpf.controller.tables import Tables
from consul_ebpf.model.seams import Doomed
from consul_ebpf.model.token_keys import HOST
from consul_ebpf.model.values import (
    Credentials,
    Login,
    PlacedProxy,
    Proxy,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.testing import FakeAcl, FakeNamespaces, MemoryMapBackend
from tests.lab.tokens import Tokens

pytestmark = pytest.mark.looptime(start=0)

LOGIN = Login("jwt", bearer_token="the-bearer")
OWN = Credentials(login=Login("jwt", bearer_token_file="/run/web.jwt"))
WEB = Proxy("web", "host1", credentials=OWN)
SERVER = Server.at("10.0.0.1", 8502)
ONE, TWO, THREE = (Vip(IPv4Address(f"127.64.0.{n}"), 8502) for n in (1, 2, 3))


class Host(FakeNamespaces):
    """Three Envoys that connect again at once when their connection is cut."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        rows = {0: SlottedServer(0, SERVER, ServerState.READY)}
        table = Table(rows, dict.fromkeys((ONE, TWO, THREE), (0,)))
        self.backend = MemoryMapBackend(table=table)
        self.owners: dict[int, Vip] = {}
        self.cut: list[Vip] = []
        for vip in table.vips:
            self.connect(vip)
        self.acl = FakeAcl(lifetime=60)
        default = Credentials(login=LOGIN)
        self.tokens = Tokens(self.acl, directory, default, clock)
        tables = Tables(KernelTable(self.backend, ""), Progress(), Latest())
        self.outcome: Latest[Converged] = Latest()
        self.rotator = Rotator(
            self.tokens.keeper.retired, self.outcome, tables, self, self.tokens.unused
        )

    def connect(self, vip: Vip) -> None:
        cookie = 100 + len(self.owners)
        self.owners[cookie] = vip
        self.sockets[cookie] = SERVER
        self.backend.connect(vip, cookie)

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        count = super().destroy(doomed)
        for each in doomed:
            self.cut.append(self.owners[each.cookie])
            self.connect(self.owners[each.cookie])
        return count

    def write(self, **files: dict[Vip, str | None]) -> None:
        """Say by token key which proxy's file holds which secret."""
        served = {}
        for key, theirs in files.items():
            for vip, secret in theirs.items():
                proxy = WEB if key == WEB.key else Proxy(f"of-{vip}", "h")
                served[proxy.key] = Served(PlacedProxy(proxy, vip), secret)
        self.outcome.set(Converged(1, len(served), 0, outcomes=served))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self.tokens.keeper.run()),
            asyncio.create_task(self.rotator.run()),
        ]
        try:
            yield
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def clock() -> float:
    return 1e9 + asyncio.get_running_loop().time()


async def test_fault_80_one_stuck_file_stops_no_other_proxy(tmp_path: Path) -> None:
    """Others of the same token move at once; it is logged out when no file has it."""
    host = Host(tmp_path)
    async with host.running():
        host.tokens.want([WEB])
        old, mine = await host.tokens.secret(HOST), await host.tokens.secret("web")
        host.write(_={ONE: old, TWO: old}, web={THREE: mine})
        new, mine_too = (
            await host.tokens.secret(HOST, old),
            await host.tokens.secret("web", mine),
        )
        host.write(_={ONE: new, TWO: old}, web={THREE: mine_too})
        await asyncio.sleep(5)
        assert set(host.cut) == {ONE, THREE}
        assert mine not in host.acl.valid  # another key's goes on
        assert old in host.acl.valid
        host.write(_={ONE: new, TWO: new}, web={THREE: mine_too})
        await asyncio.sleep(5)
        assert sorted(host.cut) == [ONE, TWO, THREE]  # nobody twice
        assert old not in host.acl.valid


async def test_fault_80_what_a_file_holds_may_not_be_known(tmp_path: Path) -> None:
    """Then it may be the old token, which stays; a proxy that goes takes it along."""
    host = Host(tmp_path)
    async with host.running():
        host.tokens.want([])
        old = await host.tokens.secret(HOST)
        host.write(_={ONE: None})
        await host.tokens.secret(HOST, but=old)
        await asyncio.sleep(10)
        assert old in host.acl.valid
        host.write()
        await asyncio.sleep(5)
        assert old not in host.acl.valid
        assert host.cut == []


def test_what_a_round_wrote_is_told_by_key() -> None:
    """Not what it should have written; of proxies it only kept, nothing is known."""
    plain, stuck = Proxy("plain", "h"), Proxy("stuck", "h")
    done = Converged(
        1,
        3,
        1,
        outcomes={
            "web": Served(PlacedProxy(WEB, ONE), token="a"),
            "plain": Served(PlacedProxy(plain, TWO), token="b"),
            "stuck": Served(PlacedProxy(stuck, THREE), token=None),
            "gone": Refused(Trouble("no")),
        },
        kept=(Vip(IPv4Address("127.64.0.9"), 8502),),
    )
    written = written_by(done)
    assert written.files == {"web": {ONE: "a"}, HOST: {TWO: "b", THREE: None}}
    assert written.holding(HOST, "a") == {THREE, *done.kept}
    assert written.holding("web", "a") == {ONE, *done.kept}
    assert written.holding("gone", "a") == set(done.kept)
    assert "secret" not in repr(Served(PlacedProxy(WEB, ONE), token="secret"))
