"""What a snapshot has from the controller's files."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf import Proxy, Vip
from consul_ebpf.controller.problems import ProblemFile, Problems
from consul_ebpf.proxies.memory import VIPS_FILE, VipMemory
from consul_ebpf.views.gatherer import Memory

VIP = Vip(IPv4Address("127.64.0.1"), 8502)


def test_files_are_read_again_when_they_changed(tmp_path: Path) -> None:
    """None of them need be there."""
    memory = Memory(tmp_path)
    empty = memory.read()
    assert (empty.names, empty.problems) == ({}, Problems())
    VipMemory(tmp_path).save({("pod-1", "default", "default"): VIP})
    seen = memory.read()
    assert seen.names == {VIP: ("pod-1", VIP)}
    assert memory.read() is seen
    VipMemory(tmp_path).save_ids([Proxy("web", "", key="pod-1")])
    assert memory.read().names == {VIP: ("web", VIP)}
    problems = Problems({"web": ["no"]}, ["Consul"])
    ProblemFile(tmp_path).save(problems)
    assert memory.read().problems == problems


def test_a_damaged_file_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often somebody looks; the VIPs are shown without names."""
    (tmp_path / VIPS_FILE).write_text("{")
    memory = Memory(tmp_path)
    assert [memory.read().names for _ in range(3)] == [{}] * 3
    assert 1 == caplog.text.count("proxies are shown without their ids")
