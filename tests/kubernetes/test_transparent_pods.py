"""A pod as consul-k8s makes it by default: transparent proxy, and Consul DNS in it."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.kernel.conftest import Kernel
from tests.lab.kubernetes.api import Object, restarts
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.injected import Settings
from tests.lab.kubernetes.life import Life
from tests.lab.kubernetes.processes import netns, pid_of
from tests.lab.kubernetes.served import ServedPods
from tests.lab.kubernetes.webhook import Webhook
from tests.lab.processes import wait_until
from tests.lab.scratch import Netns, cgroup2_mount
from tests.lab.transparent import redirected

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.resolvers,
]

NAME, DNS = "seethrough", "127.64.0.53"
QUESTION = f"{NAME}.service.consul."


@pytest.fixture
def life(served: ServedPods) -> Iterator[Life]:
    """DNS is served, and consul-k8s gives pods their nameservers."""
    life, injector = Life(served), served.mesh.injector
    before = injector.settings
    injector.settings = Settings("dns")
    # Behind the other one, which leaves such pods alone.
    webhook = Webhook(
        life.cluster, name="zzz-consul-ebpf", settings="[dns]\nenabled = true"
    )
    readable = life.consul.readable_by_anybody()
    with readable, webhook, life.configured(dns={"enabled": True}):
        yield life
        life.end_all()
    injector.settings = before


@pytest.fixture
def pod(life: Life, consul_bin: Path) -> Iterator[Object]:
    """A pod whose network has Consul's rules before its Envoy starts."""
    servers = life.consul.servers
    agent = Netns(os.getpid()), servers.http_addresses[0]
    token = f"-token={servers.management_token}"
    nameservers = {"nameservers": ["127.0.0.1"], "searches": []}
    with ExitStack() as stack:
        with life.mesh.registrar.held_back():
            life.start(NAME, wait=False, dnsPolicy="None", dnsConfig=nameservers)
            life.wait_log(NAME, "no registration")
            there = netns(life.pods.get(NAME) or {})
            stack.enter_context(redirected(consul_bin, there, agent, options=[token]))
        yield life.ready(NAME)


def passed_on(pod: Object) -> int:
    """Count the connections that the pod's Envoy passed on to their destination."""
    return PodEnvoy(pod).stat("cluster.original-destination.upstream_cx_total")


def in_pod(pod: Object, function: Callable[[], str]) -> str:
    """Call a function as one of the pod's application's processes."""
    pid = pid_of(pod, "sleep")
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    (path,) = (line[3:] for line in lines if line.startswith("0::"))
    cgroup = (cgroup2_mount() or Path()) / path.lstrip("/")
    inside = netns(pod, "sleep")
    return Kernel(cgroup, cgroup).call(lambda: inside.call(function))


def asked_by_udp() -> str:
    query = dns.message.make_query(QUESTION, "A")
    return str(dns.query.udp(query, DNS, 5).answer[0][0])


def asked_by_tcp() -> str:
    query = dns.message.make_query(QUESTION, "A")
    return str(dns.query.tcp(query, DNS, 5).answer[0][0])


def connected(vip: str) -> str:
    """Begin HTTP/2 at the VIP without TLS: the server has TLS and says so, or ends."""
    with socket.create_connection((vip, 8502), 5) as sock:
        sock.sendall(b"hello")
        return "answered" if sock.recv(1) else "closed"


def test_envoy_passes_the_rules_and_the_application_is_answered(
    life: Life, pod: Object
) -> None:
    """Envoy, user 5995, reaches its server by its VIP and is exempt from the rules. The
    application's queries go straight to a server by UDP, and by TCP through Envoy."""
    assert restarts(pod) == 0
    assert pod["spec"]["dnsConfig"]["nameservers"][0] == DNS
    envoy = life.envoy(pod)
    assert envoy.server in life.consul.servers.grpc_endpoints
    wait_until(lambda: listens(envoy), "Envoy's outbound listener")
    address = pod["status"]["podIP"]
    assert address in life.exec(NAME, "nslookup", QUESTION).stdout
    for ask, through in ((asked_by_udp, 0), (asked_by_tcp, 1)):
        before = passed_on(pod)
        assert in_pod(pod, ask) == address
        assert passed_on(pod) == before + through
    before = passed_on(pod)
    in_pod(pod, lambda: connected(life.vip(pod)))
    assert passed_on(pod) == before + 1


def listens(envoy: PodEnvoy) -> bool:
    return "15001" in envoy.admin("/listeners").decode()
