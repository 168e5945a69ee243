"""What `doctor` makes of a server's answer, and of who has the port."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.cli.dns_way import absent, judged, listening, taken
from consul_ebpf.model.seams import Health
from consul_ebpf.model.values import Vip

VIP = Vip(IPv4Address("127.64.0.53"), 53)
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n"


def line(local: str, state: str) -> str:
    return f"  5: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0 0 1\n"


@pytest.mark.parametrize(
    ("said", "alive", "mark", "words"),
    [
        ("NOERROR for consul.service.consul.", True, "ok  ", ""),
        ("NXDOMAIN for consul.service.consul.", True, "warn", "give the servers a `dn"),
        ("REFUSED for consul.service.consul.", True, "warn", "consul.domain (consul)"),
        ("Connection refused", False, "FAIL", "is ports.dns set there"),
        ("SERVFAIL for consul.service.consul.", False, "FAIL", "is ports.dns set"),
    ],
)
def test_a_servers_answer_is_explained(
    said: str, alive: bool, mark: str, words: str
) -> None:
    """With what to do where a user has something to do."""
    found = str(judged("DNS of server x", Health(alive, said), "consul"))
    assert found.startswith(f"{mark} DNS of server x: {said}")
    assert words in found


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("udp", line("00000000:0035", "07"), ["0.0.0.0"]),
        ("udp", line("3500007F:0035", "07"), ["127.0.0.53"]),
        ("udp", line("3500407F:0035", "07"), ["127.64.0.53"]),
        ("udp", line("00000000:0036", "07"), []),
        ("udp", line("00000000:0035", "01"), []),
        ("udp", line(f"{'0' * 32}:0035", "07"), ["0.0.0.0"]),
        (
            "udp",
            line("0000000000000000FFFF00003500407F:0035", "07"),
            ["127.64.0.53"],
        ),
        ("udp", line("B80D01200000000067452301EFCDAB89:0035", "07"), []),
        ("udp", "", []),
    ],
)
def test_who_listens_is_read_from_the_kernel(
    name: str, text: str, found: list[str], tmp_path: Path
) -> None:
    """IPv4 addresses, also of IPv6 sockets that take IPv4."""
    path = tmp_path / name
    path.write_text(HEAD + text)
    assert found == [str(each) for each in listening(path, 53, "07")]


def test_a_stub_resolver_on_all_addresses_is_named(tmp_path: Path) -> None:
    """By protocol; one on an address of its own is nobody's trouble."""
    (tmp_path / "udp").write_text(HEAD + line("00000000:0035", "07"))
    (tmp_path / "tcp").write_text(HEAD + line("3500007F:0035", "0A"))
    (found,) = taken(VIP, tmp_path)
    assert str(found).startswith("warn UDP port 53: a process listens at 0.0.0.0, ")


def test_a_cgroup_that_may_ask_and_is_not_there_is_named(tmp_path: Path) -> None:
    """It may come later, so it is a warning; one that is there is not spoken of."""
    (found,) = absent([str(tmp_path), str(tmp_path / "later")])
    assert str(found).startswith(f"warn dns.cgroups: {tmp_path}/later is not there: ")
