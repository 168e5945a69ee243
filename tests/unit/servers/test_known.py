"""The last known servers: what is written is served again, and nothing else is."""

import json
import logging
import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from consul_ebpf import (
    PooledServer,
    Server,
    ServerState,
    Service,
    SlottedServer,
    Table,
)
from consul_ebpf.servers.known import (
    SERVERS_FILE,
    KnownServers,
    cluster_key,
    known_by,
)

READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING
ONE = Server.at("10.0.0.1", 8502, name="server-1")
TWO = Server.at("fd00::2", 8503)
NETWORK = IPv4Network("127.64.0.0/10")


def known(directory: Path, cluster: str = "ours") -> KnownServers:
    return KnownServers(directory, cluster, NETWORK)


def write(directory: Path) -> dict[str, object]:
    known(directory).save([PooledServer(ONE, READY), PooledServer(TWO, FAILING)])
    data = json.loads((directory / SERVERS_FILE).read_text())
    assert isinstance(data, dict)
    return data


def test_what_was_listed_is_known_again(tmp_path: Path) -> None:
    """Ready until probes say otherwise; one that was leaving is not kept."""
    three = Server.at("10.0.0.3", 8502)
    servers = [PooledServer(ONE, READY), PooledServer(TWO, FAILING)]
    known(tmp_path).save([*servers, PooledServer(three, DRAINING)])
    assert known(tmp_path).resume(Table()) == (
        PooledServer(ONE, READY),
        PooledServer(TWO, READY),
    )


def test_states_alone_are_not_written(tmp_path: Path) -> None:
    """A flapping server costs no disk."""
    file = known(tmp_path)
    file.save([PooledServer(ONE, READY)])
    before = (tmp_path / SERVERS_FILE).stat().st_ino
    file.save([PooledServer(ONE, FAILING)])
    file.save([])
    assert before == (tmp_path / SERVERS_FILE).stat().st_ino
    file.save([PooledServer(ONE, READY), PooledServer(TWO, READY)])
    assert before != (tmp_path / SERVERS_FILE).stat().st_ino


def test_the_kernels_table_counts_and_the_file_names(tmp_path: Path) -> None:
    """What proxies use now, in its states; the kernel knows no names."""
    write(tmp_path)
    rows = {
        4: SlottedServer(4, Server("slot 4", 8502, ONE.ipv4), FAILING),
        5: SlottedServer(5, Server("slot 5", 1, ONE.ipv4), READY),
    }
    assert known(tmp_path).resume(Table(rows)) == (
        PooledServer(ONE, FAILING),
        PooledServer(rows[5].server, READY),
    )


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: json.dumps(d).replace("10.0.0.1", "10.0.0.9"), "checksum"),
        (lambda d: json.dumps(d)[:-20], "malformed|truncated"),
        (lambda d: json.dumps({**d, "version": 99}), "version 99"),
        (lambda d: "", "truncated|malformed"),
        (lambda d: "\x00\xff" * 100, "malformed|invalid"),
        (lambda d: '{"version": 1, "content": 5}', "Expected `object`"),
        (lambda d: "[" * 100_000, "malformed|Expected|recursion"),
        (
            lambda d: json.dumps(d | {"checksum": ""}).replace("10.0.0.1", "0.0.0.0"),
            "unspecified",
        ),
        (
            lambda d: json.dumps(d | {"checksum": ""}).replace(
                "10.0.0.1", "127.64.0.1"
            ),
            "loop",
        ),
    ],
)
def test_fault_65_a_damaged_file_is_moved_aside_with_a_word(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: object,
    told: str,
) -> None:
    """A start then knows no servers, and the file can be looked at."""
    data = write(tmp_path)
    path = tmp_path / SERVERS_FILE
    assert callable(damage)
    path.write_text(damage(data), encoding="latin-1")
    assert known(tmp_path).resume(Table()) == ()
    assert not path.exists()
    assert (tmp_path / f"{SERVERS_FILE}.bad").exists()
    (record,) = caplog.records
    assert record.__dict__["event"] == "state_ignored"
    assert re.search(told, record.getMessage(), re.IGNORECASE), record.getMessage()


def test_fault_65_another_clusters_file_is_ignored_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And only overwritten when there is something to write."""
    write(tmp_path)
    other = known(tmp_path, "another")
    assert other.resume(Table()) == ()
    assert "another [consul] configuration" in caplog.text
    assert known(tmp_path).load() == (ONE, TWO)
    other.save([PooledServer(TWO, READY)])
    assert other.load() == (TWO,)
    assert known(tmp_path).load() == ()


def test_fault_77_the_cluster_is_what_the_configuration_says() -> None:
    """Source, datacenter and addresses; their order is no matter."""
    here = cluster_key("catalog", "dc1", ["http://a", "http://b"], [])
    assert here == cluster_key("catalog", "dc1", ["http://b", "http://a"], [])
    others = {
        cluster_key("static", "dc1", ["http://a", "http://b"], []),
        cluster_key("catalog", "dc2", ["http://a", "http://b"], []),
        cluster_key("catalog", "dc1", ["http://a"], []),
        cluster_key("catalog", "dc1", ["http://a", "http://b"], ["10.0.0.1"]),
    }
    assert len({here, *others}) == 5


def test_fault_64_a_file_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And written when it can be; nothing stops."""
    blocked = tmp_path / "state"
    blocked.write_text("in the way of a directory")
    file = known(blocked)
    with caplog.at_level(logging.WARNING):
        file.save([PooledServer(ONE, READY)])
        file.save([PooledServer(ONE, READY)])
    assert len(caplog.records) == 1
    assert caplog.records[0].__dict__["event"] == "files_failed"
    blocked.unlink()
    file.save([PooledServer(ONE, READY)])
    assert known(blocked).load() == (ONE,)


def test_another_service_is_known_by_its_own_table() -> None:
    """In the states of its rows; of a server that has none there it is not known."""
    dns = Service("dns", 8600)
    servers = [PooledServer(ONE, READY), PooledServer(TWO, READY)]
    row = SlottedServer(3, Server("slot 3", 8600, ONE.ipv4), FAILING)
    found = known_by(servers, dns, Table({3: row}))
    assert found == (PooledServer(ONE, FAILING, service=dns),)
