"""Whatever is in a file, an answer or a table: refused in one line, or used; no crash.

By hypothesis, not a coverage-guided fuzzer: what is read here is decoded by kept
libraries, and what is ours is small enough for generated values to reach.
"""

import json
import logging
import os
import random
import stat
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf import (
    BccMapBackend,
    PooledServer,
    Server,
    ServerState,
    SlottedServer,
    Table,
    Vip,
)
from consul_ebpf.kernel import codec
from consul_ebpf.kernel.program import CONNECT
from consul_ebpf.kernel.tables import slot_key
from consul_ebpf.proxies.memory import VIPS_FILE, VipMemory
from consul_ebpf.proxies.sources.drop_ins import DropIns
from consul_ebpf.servers.known import SERVERS_FILE, KnownServers
from consul_ebpf.views.gatherer import Gatherer
from tests.hunt.conftest import HUNT
from tests.kernel.conftest import Kernel, connect, listening
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

NETWORK = IPv4Network("127.64.0.0/10")
MARK = "5e7f6f0c-dead-4000-8000-beefbeefbeef"
"""Stands for a token in whatever is read."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just(MARK),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=20,
)
BYTES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.just(b"[" * 100_000)
    | st.just(b'{"version": 1, "content": ' + b"[" * 100_000)
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


ENVELOPES = st.dictionaries(
    st.sampled_from(["version", "content", "checksum"]), JSON
).map(lambda value: json.dumps(value).encode())


@HUNT
@given(BYTES | ENVELOPES)
def test_fault_65_any_state_file_is_read_or_put_aside(data: bytes) -> None:
    """The last known servers and the VIPs: nothing is raised, nothing is lost."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file in (SERVERS_FILE, VIPS_FILE):
            (directory / file).write_bytes(data)
        known = KnownServers(directory, "cluster", NETWORK)
        for server in known.load():
            assert 0 < server.port < 65536
        VipMemory(directory).load()
        for file in (SERVERS_FILE, VIPS_FILE):
            kept = [path for path in directory.iterdir() if path.name.startswith(file)]
            assert [path.read_bytes() for path in kept] == [data]


@HUNT
@given(st.data())
def test_fault_65_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    """Whatever a damaged file still says, it is the servers that were written."""
    servers = [Server.at(f"10.0.0.{n}", 8502, name=f"s-{n}") for n in (1, 2, 3)]
    with tempfile.TemporaryDirectory() as name:
        known = KnownServers(Path(name), "cluster", NETWORK)
        known.save([PooledServer(each, ServerState.READY) for each in servers])
        path = Path(name) / SERVERS_FILE
        content = bytearray(path.read_bytes())
        assert list(KnownServers(Path(name), "cluster", NETWORK).load()) == servers
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        loaded = list(KnownServers(Path(name), "cluster", NETWORK).load())
        # Elsewhere it may hit nothing but the checksum's own name.
        first, last = content.find(b"10.0.0.1"), content.rfind(b"10.0.0.3")
        assert loaded in ([], servers)
        if first <= position <= last:
            assert loaded == []


TOML_VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.text(max_size=30).map(json.dumps),
    st.just(json.dumps(MARK)),
    st.just("[]"),
    st.just("{}"),
    st.just('"../../etc"'),
    st.just(json.dumps("x" * 5000)),
)
KEYS = "id node namespace partition service vip admin netns cgroup credentials surprise"
ENTRY = st.dictionaries(st.sampled_from(KEYS.split()), TOML_VALUES)
DROP_IN = st.one_of(
    st.binary(max_size=300),
    st.lists(ENTRY, max_size=3).map(
        lambda entries: "\n".join(
            "[[proxies]]\n" + "\n".join(f"{k} = {v}" for k, v in entry.items())
            for entry in entries
        ).encode("utf-8", "surrogatepass")
    ),
)


@HUNT
@given(st.lists(DROP_IN, min_size=1, max_size=3))
def test_fault_63_any_drop_in_is_used_or_told_in_one_line(files: list[bytes]) -> None:
    """What is used obeys the rules for names; no line holds a token."""
    with tempfile.TemporaryDirectory() as name:
        for number, data in enumerate(files):
            (Path(name) / f"{number}.toml").write_bytes(data)
        found = DropIns(Path(name)).scan()
        for proxy in found.proxies:
            assert proxy.id
            assert "/" not in proxy.id
            assert proxy.id.isprintable() or not proxy.id.isascii()
        for line in found.wrong:
            assert "\n" not in line
            assert "credentials" not in line or MARK not in line


def test_fault_63_what_is_no_file_is_no_drop_in(tmp_path: Path) -> None:
    """A FIFO blocks nobody, a directory and a dangling link are told."""
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "directory.toml").mkdir()
    (tmp_path / "dangling.toml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 20) + b"#")
    (tmp_path / "good.toml").write_text('[[proxies]]\nid = "web"\nnode = "h"\n')
    found = DropIns(tmp_path).scan()
    assert [proxy.id for proxy in found.proxies] == ["web"]
    assert len(found.wrong) == 5
    assert stat.S_ISFIFO((tmp_path / "fifo.toml").stat().st_mode)


@HUNT
@given(st.binary(min_size=codec.SERVER.size, max_size=codec.SERVER.size), st.data())
def test_any_pinned_row_is_read(row: bytes, data: st.DataObject) -> None:
    """As a server or as none; a VIP's preference has slots only."""
    entry = codec.decode_server(0, row)
    if entry is not None:
        assert entry.server.ipv4 or entry.server.ipv6
    size = codec.VIP.size
    vip = data.draw(st.binary(min_size=size, max_size=size))
    assert all(slot < codec.NO_SLOT for slot in codec.decode_preference(vip))
    codec.decode_vip_counters(vip)
    codec.decode_binding(vip)
    codec.encode_vip((1, 2), vip)


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(8))
def test_fault_48_scribbled_tables_lead_to_no_stranger_once_applied(seed: int) -> None:
    """Random bytes in every row: status reads them, a start converges over them."""
    chance = random.Random(seed)  # to be made again
    vip = Vip(IPv4Address("127.64.0.1"), 8502)
    with (
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        listening("127.0.20.1") as server,
    ):
        kernel = Kernel(cgroup, bpffs)
        row = SlottedServer(3, server, ServerState.READY)
        table = Table({3: row}, {vip: (3,)})
        with kernel.open(max_proxies=100) as backend:
            backend.apply(table)
            scribble(backend, chance)
            Gatherer(bpffs, bpffs).take()
        with kernel.open(max_proxies=100) as backend:
            backend.read()
            backend.apply(table)
            state = backend.read()
            assert state.table.vips == {vip: (3,)}
            assert [e.server.endpoint for e in state.table.servers.values()] == [
                server.endpoint
            ]
            assert backend.mend() == ()
            try:
                host, port = kernel.call(connect)
            except OSError:  # bound to somebody by the scribble: unbound by apply
                pytest.fail("the VIP leads nowhere")
            assert f"{host}:{port}" == server.endpoint


def scribble(backend: BccMapBackend, chance: random.Random) -> None:
    """Fill both tables with random rows, as a bug or a tool might."""
    tables: dict[str, Any] = backend._installed.tables
    for slot in range(codec.SLOTS):
        tables["servers"].update(
            slot_key(slot), chance.randbytes(CONNECT.tables["servers"].value)
        )
    for _ in range(60):
        key = codec.encode_key(
            Vip(IPv4Address(chance.getrandbits(32)), chance.getrandbits(16))
        )
        tables["vips"].update(key, chance.randbytes(CONNECT.tables["vips"].value))
    key = codec.encode_key(Vip(IPv4Address("127.64.0.1"), 8502))
    tables["vips"].update(key, chance.randbytes(CONNECT.tables["vips"].value))
