"""With `[dns]` on, a pod that has Consul DNS asks the servers through the kernel."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.kubernetes.injected import Settings
from tests.lab.kubernetes.served import ServedPods
from tests.lab.kubernetes.webhook import Webhook
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]


@contextmanager
def dns(served: ServedPods) -> Iterator[None]:
    """Have controller, webhook and consul-k8s serve DNS, and then no more."""
    injector = served.mesh.injector
    before = injector.settings
    served.controller.configure(dns={"enabled": True})
    served.controller.replace()
    injector.settings = Settings("dns")
    try:
        # In the order of names before the one that is always there.
        on = "[dns]\nenabled = true"
        with Webhook(served.mesh.cluster, name="zy-consul-ebpf", settings=on):
            yield
    finally:
        injector.settings = before
        served.controller.configure(dns={"enabled": False})
        served.controller.replace()


def test_a_pod_asks_the_servers(served: ServedPods) -> None:
    """By its own resolver, which has the VIP first and then the cluster's DNS."""
    mesh = served.mesh
    with mesh.consul.readable_by_anybody(), dns(served):
        made = mesh.add_pod("named")
        assert made["metadata"]["annotations"]["consul-ebpf.io/status"] == "rewritten"
        mesh.pods.wait_ready("named")

        def ask(*words: str) -> str:
            told = ("exec", "named", "-c", "application", "--", *words)
            return mesh.cluster.kubectl(*told)

        servers = [
            line.split()[1]
            for line in ask("cat", "/etc/resolv.conf").splitlines()
            if line.startswith("nameserver")
        ]
        assert servers == ["127.64.0.53", "10.96.0.10"]
        wait_until(lambda: served.controller.status()["dns"]["attached"], "DNS")
        said = ask("nslookup", "-type=a", "consul.service.consul", "127.64.0.53")
        for server in mesh.consul.servers.addresses:
            assert server in said
        mesh.pods.delete("named")
        mesh.pods.wait_gone("named")
