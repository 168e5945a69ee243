import logging
import os
import stat
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.state_file import MAX_BYTES, JsonFile
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import Proxy, Vip
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.proxies.vips import ProxyKey

VIPS: dict[ProxyKey, Vip] = {
    "b": Vip(IPv4Address("127.64.0.9"), 8502),
    ("a", "ns", "ap"): Vip(IPv4Address("127.64.0.1"), 8502, ipv6=True),
}


def test_round_trip(tmp_path: Path) -> None:
    """What is saved is loaded, in order, with the form the VIP is written in."""
    VipMemory(tmp_path).save(VIPS)
    loaded = VipMemory(tmp_path).load()
    assert list(VIPS.items()) == list(loaded.items())
    assert [vip.ipv6 for vip in loaded.values()] == [False, True]


def test_private(tmp_path: Path) -> None:
    """The file is the owner's alone, its directory is passable but not listable."""
    directory = tmp_path / "run"
    umask = os.umask(0o077)
    try:
        VipMemory(directory).save(VIPS)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((directory / "vips.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711


def test_nothing_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No file is no memory and nothing to log."""
    assert VipMemory(tmp_path).load() == {}
    assert caplog.records == []


ENTRY = (
    '{"id":"a","namespace":"default","partition":"default",'
    '"vip":"127.64.0.1","port":8502,"ipv6":false}'
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"[]",
        b'{"version":2,"content":[]}',
        b'{"version":1,"content":[{"id":"a"}]}',
        f'{{"version":1,"content":[{ENTRY},{ENTRY}]}}'.encode(),
        f'{{"version":1,"content":[{ENTRY}'.encode(),
        f'{{"version":1,"content":[{ENTRY.replace("127.64.0.1", "x")}]}}'.encode(),
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_fault_65_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """A damaged or foreign file is moved aside with one log line, and forgotten."""
    file = tmp_path / "vips.json"
    file.write_bytes(content)
    memory = VipMemory(tmp_path)
    with pytest.raises(ConsulEbpfError, match=r"vips\.json: .+"):
        memory.read()
    assert file.exists()
    assert memory.load() == {}
    assert len(caplog.records) == 1
    assert "vips.json: ignored, moved to vips.json.bad" in caplog.text
    assert not file.exists()
    assert content == (tmp_path / "vips.json.bad").read_bytes()
    memory.save(VIPS)
    assert VipMemory(tmp_path).load() == VIPS


def test_fault_64_cannot_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that takes nothing is logged once; when it does again, all is written."""
    directory = tmp_path / "run"
    directory.write_text("in the way")
    memory = VipMemory(directory)
    memory.save(VIPS)
    memory.save({})
    assert len(caplog.records) == 1
    assert "a restart will not remember it" in caplog.text
    directory.unlink()
    memory.save(VIPS)
    assert VipMemory(directory).load() == VIPS


def test_writes_only_changes(tmp_path: Path) -> None:
    """A value that the file holds is not written again."""
    memory = VipMemory(tmp_path)
    memory.save(VIPS)
    before = (tmp_path / "vips.json").stat().st_ino
    memory.save(dict(VIPS))
    again = VipMemory(tmp_path)
    again.load()
    again.save(VIPS)
    assert before == (tmp_path / "vips.json").stat().st_ino
    again.save({})
    assert before != (tmp_path / "vips.json").stat().st_ino


def test_any_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A value of another type than asked for is a damaged file."""
    JsonFile(tmp_path / "x.json", list[int]).save([1, 2])
    caplog.set_level(logging.ERROR)
    assert JsonFile(tmp_path / "x.json", list[int]).load() == [1, 2]
    assert JsonFile(tmp_path / "x.json", dict[str, int]).load() is None


def test_ids_are_kept_where_they_are_not_the_keys(tmp_path: Path) -> None:
    """Nothing is written of other proxies; an id of two would name neither."""
    memory = VipMemory(tmp_path)
    plain, late = Proxy("web", "node"), Proxy("", "node", key="pod-1")
    memory.save_ids([plain, late])
    assert list(tmp_path.iterdir()) == []
    twins = [Proxy("db", "node", key=key) for key in ("pod-2", "pod-3")]
    memory.save_ids([plain, Proxy("api", "node", key="pod-1"), *twins])
    assert VipMemory(tmp_path).read_ids() == {"pod-1": "api"}
    memory.save_ids([plain])
    assert VipMemory(tmp_path).read_ids() == {}
