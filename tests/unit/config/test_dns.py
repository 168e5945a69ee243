"""What `[dns]` may hold; each mistake is named."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.config import dns
from consul_ebpf.config.load import load
from consul_ebpf.config.schema import Config
from consul_ebpf.model.errors import ConfigError

TLS_OFF = "[consul.tls]\ndisabled = true\n"
PROXY = '[[proxies]]\nid = "web"\nnode = "n"\nvip = "{}"\n'


def read(directory: Path, text: str) -> Config:
    """Load it as `status` does, which looks whatever the configuration serves."""
    file = directory / "c.toml"
    file.write_text(TLS_OFF + text)
    return load(file, {}, {}, serving=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vip = 'x'", "dns.vip: 'x' is not an IPv4 address; write one like"),
        ("vip = '::ffff:127.64.0.53'", "dns.vip: '::ffff:127.64.0.53' is not an IPv4"),
        ("vip = '10.0.0.53'", "dns.vip: 10.0.0.53 is not in kernel.vip_cidr 127.64"),
        ("vip = '127.64.0.0'", "dns.vip: 127.64.0.0 is not a host's address; take"),
        ("vip = '127.127.255.255'", "dns.vip: 127.127.255.255 is not a host's"),
        ("port = 0", "dns.port: 0 is not 1 to 65535; the usual one is 53"),
        ("port = 65536", "dns.port: 65536 is not 1 to 65535; the usual one is 53"),
        ("port = 8502", "dns.port: 8502 is kernel.vip_port; take another, like 53"),
        (
            "server_port = -1",
            "dns.server_port: -1 is not 1 to 65535; the usual one is 86",
        ),
        ("cgroups = ['system.slice']", "dns.cgroups[0]: 'system.slice' is not an abs"),
        ("cgroups = ['/a', '']", "dns.cgroups[1]: '' is not an absolute path"),
    ],
)
def test_fault_151_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    """By its key, with what to do."""
    assert dns.fault(read(tmp_path, f"[dns]\nenabled = true\n{text}")).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [("port = '53'", "dns.port: "), ("domain = 'x'", "dns.domain: unknown key")],
)
def test_fault_151_what_is_no_such_key(tmp_path: Path, text: str, said: str) -> None:
    """A key that there is not, or of another type, is refused as anywhere else."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[dns]\nenabled = true\n{text}")
    assert str(caught.value).removeprefix(f"{tmp_path}/c.toml: ").startswith(said)


@pytest.mark.parametrize("vip", ["127.64.0.53", "::ffff:127.64.0.53"])
def test_fault_151_a_vip_that_is_a_configured_proxys(tmp_path: Path, vip: str) -> None:
    """However the proxy's is written; with DNS off it is the proxy's alone."""
    config = read(tmp_path, PROXY.format(vip) + "[dns]\nenabled = true")
    said = "dns.vip: 127.64.0.53 is the VIP of proxy 'web'; take another"
    assert (dns.fault(config), dns.reserved(config)) == (said, {})
    off = read(tmp_path, PROXY.format(vip))
    assert (dns.fault(off), dns.reserved(off)) == ("", {})


def test_only_a_vip_that_is_used_must_be_right(tmp_path: Path) -> None:
    """Who takes another range of VIPs need not know of DNS."""
    text = "[kernel]\nvip_cidr = '127.80.0.0/16'\n"
    assert dns.fault(read(tmp_path, text)) == ""
    wrong = dns.fault(read(tmp_path, text + "[dns]\nenabled = true"))
    assert "is not in kernel.vip_cidr 127.80" in wrong


def test_the_vip_is_reserved(tmp_path: Path) -> None:
    """So that no proxy gets it."""
    config = read(tmp_path, "[dns]\nenabled = true\nvip = '127.64.0.7'")
    assert {IPv4Address("127.64.0.7"): "dns.vip"} == dns.reserved(config)
