"""Resolvers people have, each with its configuration from docs/dns.md."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.dns.conftest import MANY
from tests.lab.debian import unpacked
from tests.lab.dns_host import NSSWITCH, DnsHost, client
from tests.lab.parts import COREDNS
from tests.lab.processes import LabError, wait_until
from tests.lab.scratch import scratch_directory

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.resolvers]

Page = Callable[[str], str]

ROOT_KEY = "20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
UNBOUND = f"""
server:
    interface: 127.0.0.1
    do-daemonize: no
    use-syslog: no
    chroot: ""
    username: ""
    pidfile: ""
    directory: ""
    trust-anchor: ". DS {ROOT_KEY}"
remote-control:
    control-enable: no
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield directory


def dig(host: DnsHost, at: str, *args: str) -> str:
    return host.run([*unpacked().program("dig"), f"@{at}", *args])


@contextmanager
def running(
    host: DnsHost,
    name: str,
    argv: list[str],
    at: str = "127.0.0.1",
    files: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a resolver until it has been asked what is asked of each."""
    child = host.start(name, argv, files=files)
    try:

        def answers() -> bool:
            child.must_run()
            said = dig(host, at, "+time=1", "+tries=1", "+short", "web.service.consul")
            return said.split() == ["10.77.0.1"]

        wait_until(lambda: _tried(answers), f"{name} answers", 15)
        yield
    except BaseException as error:
        error.add_note(child.last_words(30))
        raise
    finally:
        child.kill()


def _tried(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except LabError as error:
        if "no servers could be reached" in str(error):
            return False
        raise


def check(host: DnsHost, at: str = "127.0.0.1") -> None:
    """Each type, what is cut off over UDP, and glibc with this resolver."""
    for name, kind, answer in (
        ("six.service.consul", "AAAA", "fd77::1"),
        ("web.service.consul", "SRV", "1 1 9090 0a4d0001.addr.dc1.consul."),
        ("1.0.77.10.in-addr.arpa", "PTR", "server-0.node.dc1.consul."),
    ):
        assert [answer] == dig(host, at, "+short", name, kind).splitlines()[:1]
    many = dig(host, at, "+short", "many.service.consul").splitlines()
    assert sorted(MANY) == sorted(each for each in many if not each.startswith(";;"))
    assert "status: NXDOMAIN" in dig(host, at, "nosuch.service.consul")
    files = {
        "/etc/resolv.conf": f"nameserver {at}\n",
        "/etc/nsswitch.conf": NSSWITCH,
    }
    said = host.run(client("glibc", "web.service.consul", "ANY"), files=files)
    assert '"answers": ["10.77.0.1"]' in said


def test_dnsmasq(host: DnsHost, page: Page, directory: Path) -> None:
    """It asks from unconnected sockets, and drops a reply from another address."""
    configuration = directory / "dnsmasq.conf"
    configuration.write_text(page("dnsmasq"))
    options = ["--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--no-daemon"]
    argv = [*unpacked().program("dnsmasq"), f"--conf-file={configuration}", *options]
    with running(host, "dnsmasq", [*argv, "--log-facility=-"]):
        check(host)


def test_unbound(host: DnsHost, page: Page, directory: Path) -> None:
    """A validating one, as Debian's is: our zones are named as not signed."""
    configuration = directory / "unbound.conf"
    configuration.write_text(UNBOUND + page("unbound"))
    argv = [*unpacked().program("unbound"), "-d", "-p", "-c", str(configuration)]
    with running(host, "unbound", argv):
        check(host)


@pytest.mark.coredns
def test_fault_157_coredns_listens_on_every_address_itself(
    host: DnsHost, page: Page, directory: Path
) -> None:
    """Its own queries to the VIP do not come back to it; it keeps connected sockets."""
    configuration = directory / "Corefile"
    configuration.write_text(page("CoreDNS"))
    coredns = COREDNS.find()
    assert coredns
    with running(host, "coredns", [str(coredns), "-conf", str(configuration)]):
        check(host)


def test_systemd_resolved(host: DnsHost, page: Page) -> None:
    """With a /run of its own it needs no bus: it serves its stub, 127.0.0.53."""
    users = "systemd-resolve:x:996:996::/:/bin/false\n"
    files = {
        "/etc/passwd": Path("/etc/passwd").read_text() + users,
        "/etc/group": Path("/etc/group").read_text() + "systemd-resolve:x:996:\n",
        "/etc/nsswitch.conf": NSSWITCH,
        "/run/systemd/resolved.conf.d/consul.conf": page("systemd-resolved"),
    }
    argv = unpacked().program("systemd-resolved")
    with running(host, "systemd-resolved", argv, "127.0.0.53", files):
        check(host, "127.0.0.53")
