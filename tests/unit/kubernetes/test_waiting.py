"""The line in a volume says what is missing, and is gone when nothing is."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.outcomes import (
    Converged,
    Outcome,
    Refused,
    Served,
    Trouble,
)
from consul_ebpf.kubernetes.pods.kept import Kept, Volumes
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.kubernetes.pods.waiting import Waiting
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip
from consul_ebpf.testing import FakeMounts

pytestmark = pytest.mark.looptime(start=0)

PLACED = PlacedProxy(Proxy("", "n", key="k"), Vip(IPv4Address("127.64.0.1"), 8502))


class Case:
    """A volume, and what becomes of its proxy."""

    def __init__(self, target: Path) -> None:
        self.path = target / "waiting"
        volume = Volume(
            id="v",
            target=str(target),
            namespace="shop",
            pod="web-1",
            uid="u",
            service_account="web",
        )
        self.key = volume.key
        self.volumes: Latest[Volumes] = Latest()
        self.volumes.set({"v": Kept(volume, "/cg")})
        self.outcome: Latest[Converged] = Latest()
        self.mounts = FakeMounts()
        self.part = Waiting(self.volumes, self.outcome, self.mounts)

    async def after(self, outcome: Outcome | None) -> str | None:
        outcomes = {self.key: outcome} if outcome else {}
        self.outcome.set(Converged(1, 1, 0, outcomes=outcomes))
        await asyncio.sleep(1)
        return self.path.read_text() if self.path.exists() else None


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    made = Case(tmp_path / "mount")
    made.mounts.mount(str(tmp_path / "mount"))
    task = asyncio.create_task(made.part.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


def waits_for(cause: str) -> Served:
    return Served(PLACED, waiting=Trouble(cause, "no bootstrap yet"))


async def test_the_line_follows_the_outcome(case: Case) -> None:
    """One printable line; none for a proxy that is served."""
    assert "no ACL token yet: x\\x1b\n" == await case.after(
        waits_for("no ACL token yet:\nx\x1b")
    )
    assert "the table is full\n" == await case.after(
        Refused(Trouble("the table is full"))
    )
    assert await case.after(Served(PLACED, bootstrap=True)) is None


async def test_what_is_not_known_changes_nothing(case: Case) -> None:
    """Before the first round of a new process, the old line stands."""
    await case.after(waits_for("x"))

    assert "x\n" == await case.after(None)


async def test_it_is_written_when_it_changed(case: Case) -> None:
    """A file that is renamed into a directory has Envoy look at all of its files."""
    await case.after(waits_for("x"))
    inode = case.path.stat().st_ino
    outcomes = {case.key: waits_for("x"), "other": waits_for("y")}
    case.outcome.set(Converged(2, 2, 0, outcomes=outcomes))
    await asyncio.sleep(1)

    assert inode == case.path.stat().st_ino
    assert 0o644 == case.path.stat().st_mode & 0o777


async def test_nothing_is_written_without_the_mount(case: Case) -> None:
    """It would lie below the mount, and keep the directory from being removed."""
    case.mounts.unmount(str(case.path.parent))

    assert await case.after(waits_for("x")) is None
    assert not case.path.parent.exists()
