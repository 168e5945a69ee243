"""A change costs what changed: counted in renders, files touched and kernel writes."""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.outcomes import Converged, Served
from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.seams import Applied
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.model.values import (
    BootstrapParams,
    PlacedProxy,
    PooledServer,
    Proxy,
    Server,
    ServerState,
)
from consul_ebpf.proxies.params import Params
from consul_ebpf.testing import MemoryMapBackend
from tests.lab.rounds import Rounds

PROXIES = tuple(Proxy(f"web-{n}", "host1") for n in range(200))
NEW = Proxy("new", "host1")
SERVERS = tuple(
    PooledServer(Server.at(f"10.0.0.{n}", 8502), ServerState.READY) for n in (1, 2, 3)
)
DEAD = (replace(SERVERS[0], state=ServerState.FAILING, dead=True), *SERVERS[1:])

FILE_EVENTS = {"open", "os.remove", "os.mkdir", "os.rename", "os.scandir", "os.listdir"}


class _Touched:
    """The files below a directory that this process touches, while `active`."""

    def __init__(self) -> None:
        self.below = ""
        self.counts: Counter[str] = Counter()
        self.renamed = 0
        """Files that were put in their places."""
        sys.addaudithook(self._hear)

    def _hear(self, name: str, args: tuple[object, ...]) -> None:
        if self.below and name == "os.rename":  # within a directory: a name is no path
            self.renamed += 1
        if self.below and name in FILE_EVENTS and args:
            path = str(args[0])
            if path.startswith(self.below):
                self.counts[path.removeprefix(self.below).split("/")[0]] += 1


TOUCHED = _Touched()
"""One for all: an audit hook stays for ever."""


class Counting:
    """A renderer that counts."""

    def __init__(self) -> None:
        self._ours = EnvoyBootstrap()
        self.renders: list[str] = []

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        self.renders.append(placed.proxy.id)
        return self._ours.render(placed, params)


class CountingFiles(BootstrapFiles):
    """Counts who is looked at, where that opens nothing."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.looked: set[str] = set()

    def bootstrap_path(self, proxy: Proxy) -> Path:
        self.looked.add(proxy.id)
        return super().bootstrap_path(proxy)


class Cost:
    """What a change cost."""

    def __init__(self) -> None:
        self.renders: list[str] = []
        self.looked: set[str] = set()
        self.touched: set[str] = set()
        self.renamed = 0
        self.applied: list[Applied] = []


class Host:
    """Rounds by hand, which have served all of `PROXIES`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.renderer = Counting()
        self.files = CountingFiles(directory)
        self.backend = MemoryMapBackend()
        self.rounds = Rounds(directory, self.backend, self.renderer, self.files)
        self.inputs = Inputs(
            SERVERS,
            PROXIES,
            tokens=Tokens({"": "one"}),
            params=Params({each.id: BootstrapParams() for each in PROXIES}),
            tls=TlsMaterial(ca="ca"),
        )
        with self.counted() as cost:
            self.converge()
        assert len(cost.renders) == len(PROXIES)

    @contextmanager
    def counted(self) -> Iterator[Cost]:
        cost = Cost()
        self.renderer.renders.clear()
        self.files.looked.clear()
        self.backend.applied.clear()
        TOUCHED.counts.clear()
        TOUCHED.renamed = 0
        TOUCHED.below = f"{self.directory}/"
        try:
            yield cost
        finally:
            TOUCHED.below = ""
            cost.renders = list(self.renderer.renders)
            cost.looked = set(self.files.looked)
            cost.touched = set(TOUCHED.counts)
            cost.renamed = TOUCHED.renamed
            cost.applied = [each for each in self.backend.applied if each]

    def converge(self, **changed: object) -> Converged:
        self.inputs = replace(self.inputs, **changed)  # type: ignore[arg-type]
        return self.rounds.converge(self.inputs)


def served(done: Converged) -> list[Served]:
    return [each for each in done.outcomes.values() if isinstance(each, Served)]


@pytest.fixture
def host() -> Iterator[Host]:
    """With its files in memory: thousands are flushed."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as directory:
        yield Host(Path(directory))


def test_fault_132_a_death_costs_one_row(host: Host) -> None:
    """One write, no render, no file; the round after it finds nothing to do."""
    with host.counted() as cost:
        host.rounds.follow_states(DEAD)
        assert host.converge(servers=DEAD).servers == 2
    assert cost.applied == [Applied(servers=1)]
    assert (cost.renders, cost.looked, cost.touched) == ([], set(), set())


def test_a_server_that_drains_costs_a_row_for_each_proxy(host: Host) -> None:
    """Its own state, and the preferences that named it; no render, no file."""
    drains = (replace(SERVERS[0], state=ServerState.DRAINING), *SERVERS[1:])
    with host.counted() as cost:
        host.rounds.follow_states(drains)
        host.converge(servers=drains)
    assert sum(each.servers for each in cost.applied) == 1
    assert sum(each.vips_put for each in cost.applied) == len(PROXIES)
    assert (cost.renders, cost.looked, cost.touched) == ([], set(), set())


def test_a_new_ca_is_written_for_everybody(host: Host) -> None:
    """That file alone: no bootstrap is rendered or looked at, no token written."""
    with host.counted() as cost:
        host.converge(tls=TlsMaterial(ca="another"))
    assert (cost.renders, cost.looked, cost.applied) == ([], set(), [])
    assert cost.renamed == len(PROXIES)
    assert "another" in (host.directory / "web-199" / "tls-ca.json").read_text()


def test_one_more_proxy_costs_one(host: Host) -> None:
    """One render, its files, who has which VIP; plans may move a proxy or two."""
    params = Params({**(host.inputs.params or {}), NEW.id: BootstrapParams()})
    with host.counted() as cost:
        done = host.converge(proxies=(*PROXIES, NEW), params=params)
    assert (done.proxies, done.refused) == (len(PROXIES) + 1, 0)
    assert cost.renders == ["new"]
    assert cost.looked == {"new"}
    assert {each.split(".")[0].strip(".") for each in cost.touched} <= {
        "",
        "new",
        "vips",
    }
    (applied,) = cost.applied
    assert (applied.servers, applied.vips_removed) == (0, 0)
    assert 1 <= applied.vips_put <= 3
    for name in ("bootstrap.json", "token.json", "tls-ca.json"):
        assert (host.directory / "new" / name).is_file()


def test_one_answer_of_consuls_costs_one(host: Host) -> None:
    """Whoever else it was asked about."""
    found = {each.id: BootstrapParams() for each in PROXIES}
    found["web-7"] = BootstrapParams(datacenter="dc2")
    with host.counted() as cost:
        host.converge(params=Params(found))
    assert (cost.renders, cost.looked, cost.applied) == (["web-7"], {"web-7"}, [])
    assert cost.touched == {"web-7"}


def test_nothing_new_costs_nothing(host: Host) -> None:
    """A round of equal inputs tells the same, and touches nothing."""
    before = host.converge()
    with host.counted() as cost:
        done = host.converge(proxies=tuple(replace(each) for each in PROXIES))
    assert done.outcomes is before.outcomes
    assert (cost.renders, cost.touched, cost.applied) == ([], set(), [])


def test_a_new_token_is_written_for_everybody(host: Host) -> None:
    """What changed for all costs all of that file, and nothing else."""
    with host.counted() as cost:
        done = host.converge(tokens=Tokens({"": "two"}))
    assert (cost.renders, cost.looked, cost.applied) == ([], set(), [])
    assert cost.renamed == len(PROXIES)
    assert {each.token for each in served(done)} == {"two"}
    assert "two" in (host.directory / "web-199" / "token.json").read_text()


def test_a_proxy_that_leaves_takes_its_files_along(host: Host) -> None:
    """And is served anew when it is back."""
    with host.counted() as cost:
        host.converge(proxies=PROXIES[1:])
    assert (cost.renders, cost.looked) == ([], set())
    assert {each.split(".")[0] for each in cost.touched} <= {
        "",
        "web-0",
        "vips",
        "problems",
    }
    assert sum(each.vips_removed for each in cost.applied) == 1
    assert not (host.directory / "web-0").exists()
    with host.counted() as cost:
        host.converge(proxies=PROXIES)
    assert cost.renders == ["web-0"]
    assert (host.directory / "web-0" / "bootstrap.json").is_file()


def test_fault_133_what_somebody_removed_or_changed_is_written_again(
    host: Host,
) -> None:
    """Noticed by the looks of some minute, and only those are written."""
    (host.directory / "web-3" / "bootstrap.json").unlink()
    (host.directory / "web-4" / "token.json").write_text("somebody's")
    (host.directory / "web-5" / "tls-ca.json").chmod(0o644)
    with host.counted() as cost:
        found = [host.files.right.next_wrong() for _ in range(30)]
        for each in filter(None, found):
            host.converge(wrong=each)
    assert set(cost.looked) == {"web-3", "web-4", "web-5"}
    assert (host.directory / "web-3" / "bootstrap.json").is_file()
    assert "one" in (host.directory / "web-4" / "token.json").read_text()
    assert (host.directory / "web-5" / "tls-ca.json").stat().st_mode & 0o777 == 0o600
    assert not any(host.files.right.next_wrong() for _ in range(60))
