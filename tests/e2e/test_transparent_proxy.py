"""A pod with consul-k8s's transparent proxy: its Envoy's VIP, and DNS, with the rules.

Consul's own rules in a namespace of their own, and a real Envoy as the uid that they
exempt, which real Consul servers have listen for whatever else is redirected.
"""

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Kernel
from tests.lab.debian import unpacked
from tests.lab.dns_host import NSSWITCH, POD, RESOLV_CONF, SERVERS, VIP, DnsHost, client
from tests.lab.envoy import EnvoyProcess
from tests.lab.processes import LabError, wait_until
from tests.lab.transparent import (
    ENVOY_UID,
    INIT_UID,
    OUTBOUND,
    envoy_of_sidecar,
    redirected,
)

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.resolvers,
]

PROXY, XDS = "web-sidecar-proxy", ("127.64.0.7", 8502)
APPLICATION_UID = 1000
MANY = [f"10.9.0.{n}" for n in range(1, 101)]
"""Addresses of a service whose answer fits into no datagram."""
FILES = {"/etc/resolv.conf": RESOLV_CONF, "/etc/nsswitch.conf": NSSWITCH}


class Pod:
    """A namespace and a cgroup, which a VIP is bound to."""

    def __init__(self, host: DnsHost, consul: Path) -> None:
        self.host = host
        self._consul = consul
        self.cgroup = host.cgroup / "pod"
        self.cgroup.mkdir(exist_ok=True)

    @contextmanager
    def rules(self, *options: str, dns: bool = True) -> Iterator[None]:
        """Have Consul's rules in there."""
        agent = (self.host.netns, self.host.cluster.http_addresses[0])
        netns = self.host.pod
        with redirected(self._consul, netns, agent, dns=dns, options=options):
            yield

    def call(self, uid: int, function: Callable[[], Any], *, there: bool = True) -> Any:
        """Call a function as a user in there; or in the namespace, but not the cgroup.

        Returns what it returns, or the errno of its OSError.
        """

        def enter() -> Any:
            def become() -> Any:
                os.setuid(uid)
                try:
                    return function()
                except OSError as error:
                    return error.errno

            return self.host.pod.call(become)

        cgroup = self.cgroup if there else self.host.cgroup
        return Kernel(cgroup, cgroup).call(enter)

    def dig(self, *args: str, server: str = VIP) -> list[str]:
        """Ask by dig."""
        command = [*unpacked().program("dig"), f"@{server}", "+short", *args]
        return self._run(command).split()

    def resolve(self, name: str, options: str = "") -> list[str]:
        """Ask glibc."""
        conf = f"{RESOLV_CONF}options {options}\n"
        files = {**FILES, "/etc/resolv.conf": conf}
        return list(DnsHost.report(self._run(client("glibc", name), files))["answers"])

    def _run(self, argv: list[str], files: dict[str, str] | None = None) -> str:
        netns = self.host.pod
        return self.host.run(argv, files=files, netns=netns, cgroup=self.cgroup)


@pytest.fixture(scope="module")
def pod(consul_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod whose proxy the controller serves."""
    proxies = tmp_path_factory.mktemp("proxies")
    config = {"workloads": {"directory": str(proxies)}}
    dns_config = {"enable_truncate": True, "udp_answer_limit": len(MANY)}
    more = {"dns_config": dns_config}
    with DnsHost(consul_bin, config=config, consul_config=more) as host:
        made = Pod(host, consul_bin)
        (proxies / "pod.toml").write_text(
            f'[[proxies]]\nid = "{PROXY}"\nnode = "host1-virtual"\n'
            f'vip = "{XDS[0]}"\ncgroup = "{made.cgroup}"\n'
        )
        register(host)
        yield made


def register(host: DnsHost) -> None:
    """Register the pod's service and transparent proxy, and a service of many."""
    call = partial(host.cluster.call, "PUT", "/v1/catalog/register")
    node = {"Node": "host1-virtual", "Address": POD}
    call({**node, "Service": {"ID": "web", "Service": "web", "Port": 9090}})
    sidecar = {
        "Kind": "connect-proxy",
        "ID": PROXY,
        "Service": PROXY,
        "Address": POD,
        "Port": 20000,
        "Proxy": {
            "Mode": "transparent",
            "TransparentProxy": {"OutboundListenerPort": OUTBOUND},
            "DestinationServiceName": "web",
            "DestinationServiceID": "web",
            "LocalServicePort": 9090,
        },
    }
    call({**node, "Service": sidecar})
    # Something in the mesh, so that there is a listener for it where only that counts.
    host.cluster.register_proxy("api", node="other")
    for address in MANY:
        service = {"ID": address, "Service": "many", "Address": address, "Port": 1}
        call({"Node": address, "Address": address, "Service": service})


@pytest.fixture(scope="module")
def envoy(
    pod: Pod, envoy_bin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EnvoyProcess]:
    """The pod's Envoy, whose stream through its VIP began with the rules in place."""
    binary = envoy_of_sidecar(envoy_bin, tmp_path_factory.mktemp("envoy"))
    bootstrap = pod.host.controller.bootstrap(PROXY)
    cgroup, netns = pod.cgroup, pod.host.pod
    with EnvoyProcess(binary, bootstrap, cgroup=cgroup, netns=netns) as process:
        with pod.rules():
            process.wait_connected()
            wait_until(lambda: passes_on(process), "Envoy's outbound listener")
        yield process


@pytest.fixture
def rules(pod: Pod, envoy: EnvoyProcess) -> Iterator[None]:
    """Consul's rules, with those of DNS, as consul-k8s has them by default."""
    with pod.rules():
        yield


@pytest.fixture
def only_mesh(pod: Pod, envoy: EnvoyProcess) -> Iterator[None]:
    """Envoy passes nothing on to where no service of the mesh is."""
    call = pod.host.cluster.call
    proxying = {"TransparentProxy": {"MeshDestinationsOnly": True}}
    call("PUT", "/v1/config", {"Kind": "mesh", **proxying})
    wait_until(lambda: passes_on(envoy) is False, "Envoy without the way on")
    yield
    call("DELETE", "/v1/config/mesh/mesh")
    wait_until(lambda: passes_on(envoy), "Envoy with the way on")


def passes_on(envoy: EnvoyProcess) -> bool | None:
    """Whether its outbound listener leads to what is not in the mesh; None: no such."""
    said = json.loads(envoy.admin("/config_dump?resource=dynamic_listeners"))
    for each in said.get("configs", []):
        if each["name"].startswith("outbound_listener:") and "active_state" in each:
            return "original-destination" in json.dumps(each["active_state"])
    return None


def redirections(envoy: EnvoyProcess) -> int:
    """Count the connections that Envoy passed on."""
    return envoy.stat("cluster.original-destination.upstream_cx_total")


def speak() -> str:
    """Begin HTTP/2 at the VIP; say whether a gRPC server answers as such."""
    empty_settings = bytes(3) + b"\x04" + bytes(5)
    with socket.create_connection(XDS, 5) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + empty_settings)
        return "answered" if sock.recv(9)[3:4] == b"\x04" else "closed"


def refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except LabError:
        return True
    return False


@pytest.mark.usefixtures("rules")
def test_its_envoys_connect_is_led_to_a_server_and_not_redirected(
    pod: Pod, envoy: EnvoyProcess
) -> None:
    """The VIP is replaced in connect(), before the rules, and they exempt its uid; also
    that of consul-k8s's init container."""
    assert envoy.xds_server() in {f"{each}:8502" for each in SERVERS}
    before = redirections(envoy)
    for uid in (ENVOY_UID, INIT_UID):
        assert pod.call(uid, speak) == "answered"
    assert redirections(envoy) == before


@pytest.mark.usefixtures("rules")
def test_another_uids_connect_to_the_vip_goes_through_envoy(
    pod: Pod, envoy: EnvoyProcess
) -> None:
    """Which passes it on to the server, as whatever is not in the mesh."""
    before = redirections(envoy)
    assert pod.call(APPLICATION_UID, speak) == "answered"
    assert redirections(envoy) == before + 1


@pytest.mark.usefixtures("rules", "only_mesh")
def test_another_uid_gets_nothing_by_the_vip_where_only_the_mesh_is_allowed(
    pod: Pod,
) -> None:
    """Envoy's own connects are as before."""
    assert pod.call(APPLICATION_UID, speak) in {"closed", errno.ECONNRESET}
    assert pod.call(ENVOY_UID, speak) == "answered"


@pytest.mark.usefixtures("rules")
def test_the_vip_is_refused_to_whoever_is_not_in_the_pods_cgroup(
    pod: Pod, envoy: EnvoyProcess
) -> None:
    """Whatever the uid, and nothing reaches Envoy."""
    before = redirections(envoy)
    for uid in (APPLICATION_UID, ENVOY_UID, INIT_UID):
        assert pod.call(uid, speak, there=False) == errno.EPERM
    assert redirections(envoy) == before


@pytest.mark.parametrize("dns", [True, False])
def test_dns_by_udp_goes_past_envoy_and_by_tcp_through_it(
    pod: Pod, envoy: EnvoyProcess, *, dns: bool
) -> None:
    """Consul's rules of DNS, on or off, catch what is sent to 127.0.0.1 alone."""
    with pod.rules(dns=dns):
        for way, passed_on in (("+notcp", 0), ("+tcp", 1)):
            before = redirections(envoy)
            assert pod.dig(way, "web.service.consul") == [POD]
            assert redirections(envoy) == before + passed_on


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("options", ["", "edns0", "use-vc"])
def test_glibc_resolves_in_there(pod: Pod, options: str) -> None:
    """Over TCP, too, which it asks by when an answer was cut off."""
    assert pod.resolve("web.service.consul", options) == [POD]
    assert pod.resolve("many.service.consul", options) == sorted(MANY)


@pytest.mark.usefixtures("rules")
def test_what_asks_127_0_0_1_is_led_to_where_nobody_listens(pod: Pod) -> None:
    """Where consul-dataplane was: so the VIP has to be the pod's nameserver."""
    for way in ("+notcp", "+tcp"):
        once = (way, "+timeout=1", "+tries=1", "web.service.consul")
        assert refused(partial(pod.dig, *once, server="127.0.0.1"))


@pytest.mark.usefixtures("only_mesh")
def test_dns_by_tcp_needs_its_port_excluded_where_only_the_mesh_is_allowed(
    pod: Pod, envoy: EnvoyProcess
) -> None:
    """UDP needs nothing."""
    with pod.rules():
        assert pod.dig("+notcp", "web.service.consul") == [POD]
        assert refused(lambda: pod.dig("+tcp", "web.service.consul"))
    with pod.rules("-exclude-outbound-port=8600"):
        assert pod.dig("+tcp", "web.service.consul") == [POD]
        assert pod.resolve("many.service.consul") == sorted(MANY)
