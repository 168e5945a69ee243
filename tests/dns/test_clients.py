"""What asks by itself, with no resolver between: dig, the C libraries, ping."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dns.conftest import MANY
from tests.lab.debian import unpacked
from tests.lab.dns_host import NSSWITCH, RESOLV_CONF, VIP, DnsHost
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_directory

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.resolvers]

Page = Callable[[str], str]

MAPPED = f"::ffff:{VIP}"
WAYS = ["connected", "unconnected", "recvmsg", "tcp"]
FILES = {"/etc/resolv.conf": RESOLV_CONF, "/etc/nsswitch.conf": NSSWITCH}


@pytest.fixture(scope="module")
def musl_client() -> Iterator[Path]:
    """A program with musl's getaddrinfo in it, which prints what that finds."""
    headers, library = unpacked().musl()
    source = Path(__file__).with_name("resolve.c")
    with scratch_directory() as directory:
        built = directory / "resolve"
        starts = [str(library / name) for name in ("crt1.o", "crti.o")]
        ends = [str(library / name) for name in ("libc.a", "crtn.o")]
        options = ["-static", "-nostdinc", "-nostdlib", "-isystem", str(headers)]
        command = ["gcc", *options, *starts, str(source), *ends, "-o", str(built)]
        subprocess.run(command, check=True)
        yield built


def dig(host: DnsHost, *args: str) -> str:
    return host.run([*unpacked().program("dig"), f"@{VIP}", *args])


@pytest.mark.parametrize("vip", [VIP, MAPPED])
@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_socket_is_answered_by_the_vip(
    host: DnsHost, way: str, vip: str
) -> None:
    """The reply's source and a connected socket's peer are the VIP, mapped or not."""
    report = host.ask(way, "web.service.consul", vip=vip)
    assert (1, 1, []) == (report["answered"], report["tries"], report["strangers"])
    assert ["10.77.0.1"] == report["answers"]


def test_the_page_has_the_resolv_conf_of_these_tests(page: Page) -> None:
    """So that what is shown is what is tried here, and while servers hang."""
    assert RESOLV_CONF == page("/etc/resolv.conf")


@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("web.service.consul", "A", "10.77.0.1"),
        ("six.service.consul", "AAAA", "fd77::1"),
        ("web.service.consul", "SRV", "1 1 9090 0a4d0001.addr.dc1.consul."),
        ("1.0.77.10.in-addr.arpa", "PTR", "server-0.node.dc1.consul."),
    ],
)
def test_dig_gets_each_type(
    host: DnsHost, name: str, kind: str, answer: str, way: str
) -> None:
    """A, AAAA, SRV and PTR, over UDP and TCP."""
    assert [answer] == dig(host, "+short", way, name, kind).splitlines()[:1]


def test_edns_gets_through(host: DnsHost) -> None:
    """Consul's OPT record comes back, and a buffer of 4,096 holds all in one reply."""
    said = dig(host, "+bufsize=4096", "+ignore", "many.service.consul")
    assert "EDNS: version: 0" in said
    assert f"ANSWER: {len(MANY)}" in said


def test_a_truncated_answer_is_asked_for_again_over_tcp(host: DnsHost) -> None:
    """The UDP reply says so; dig asks again over TCP, at the same address."""
    cut = dig(host, "+ignore", "+noedns", "many.service.consul")
    assert " tc " in cut.replace(";", " ")
    whole = dig(host, "+noedns", "many.service.consul")
    assert "Truncated, retrying in TCP mode" in whole
    assert f"ANSWER: {len(MANY)}" in whole


OPTIONS = [
    "",
    "edns0",
    "use-vc",
    "single-request",
    "single-request-reopen",
    "edns0 trust-ad rotate",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_glibc_resolves_with_each_option(host: DnsHost, options: str) -> None:
    """A alone, AAAA alone, both at once, and what fits into no datagram."""
    assert ["10.77.0.1"] == host.resolve("web.service.consul", "A", options)
    assert ["fd77::1"] == host.resolve("six.service.consul", "AAAA", options)
    assert ["10.77.0.1"] == host.resolve("web.service.consul", "ANY", options)
    assert sorted(MANY) == host.resolve("many.service.consul", "A", options)


def test_musl_resolves(host: DnsHost, musl_client: Path) -> None:
    """Both families at once from one unconnected socket."""
    for name, addresses in (
        ("web.service.consul", ["10.77.0.1"]),
        ("six.service.consul", ["fd77::1"]),
    ):
        assert addresses == host.run([musl_client, name], files=FILES).split()
    many = set(host.run([musl_client, "many.service.consul"], files=FILES).split())
    assert many <= set(MANY)
    assert many  # musl 1.2.3 does not ask again over TCP


@pytest.mark.parametrize("where", ["host", "pod"])
@pytest.mark.parametrize("program", ["ping", "busybox"])
def test_ping_by_name(host: DnsHost, program: str, where: str) -> None:
    """In the host's namespace and in a pod's, whose resolv.conf names the VIP."""
    command = unpacked().program(program) + (["ping"] if program == "busybox" else [])
    said = host.run(
        [*command, "-c", "1", "-W", "5", "web.service.consul"],
        files=FILES,
        netns=host.pod if where == "pod" else None,
    )
    assert "(10.77.0.1)" in said


def test_busybox_nslookup(host: DnsHost) -> None:
    """Its own resolver, by the server's address."""
    said = host.run(
        [*unpacked().program("busybox"), "nslookup", "web.service.consul", VIP]
    )
    assert "10.77.0.1" in said


def test_names_of_others_are_refused_or_recursed_as_the_servers_do(
    host: DnsHost,
) -> None:
    """Without `recursors` a server refuses; with one it asks it."""
    assert "status: REFUSED" in dig(host, "example.com")
    recursor = [
        *unpacked().program("dnsmasq"),
        *("--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts"),
        *("--user=root", "--pid-file=", "--listen-address=127.0.0.20"),
        *("--bind-interfaces", "--address=/example.com/192.0.2.7"),
    ]
    child = host.start("recursor", recursor)
    try:
        host.cluster.reload({"recursors": ["127.0.0.20"]})
        wait_until(
            lambda: dig(host, "+short", "example.com").split() == ["192.0.2.7"],
            "a recursed answer",
        )
    finally:
        host.cluster.reload({"recursors": []})
        child.kill()
