"""Pods without consul-dataplane: each Envoy on its own VIP, and on a server."""

import json
import time

import pytest

from tests.lab.kubernetes.api import restarts
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.processes import all_named
from tests.lab.kubernetes.served import ServedPods
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]


def test_a_pod_runs_on_a_plain_envoy(served: ServedPods) -> None:
    """Ready means that Consul has configured it: its public listener answers."""
    began = time.monotonic()
    admitted = served.mesh.add_pod("web")
    assert "consul-ebpf" in [each["name"] for each in admitted["spec"]["volumes"]]
    pod = served.mesh.pods.wait_ready("web")
    print(f"ready after {time.monotonic() - began:.2f} s")
    assert restarts(pod) == 0
    assert all_named("bin/consul-dataplane") == []
    envoy = PodEnvoy(pod)
    assert envoy.wait_connected() in served.mesh.consul.servers.grpc_endpoints
    config = envoy.admin("/config_dump?mask=bootstrap").decode()
    assert '"127.64.0.' in config
    ((token,),) = ([each for each in served.tokens("web") if "pod-uid" in each],)
    assert json.loads(token.partition(": ")[2])["pod"] == "default/web"

    served.mesh.pods.delete("web")
    served.mesh.pods.wait_gone("web")
    wait_until(lambda: not served.tokens("web"), "the end of its tokens")
    assert served.controller.status()["proxies"] == []


def test_a_killed_server_is_left_at_once(served: ServedPods) -> None:
    """The controller's work, not Envoy's keepalive: within seconds."""
    servers = served.mesh.consul.servers
    served.mesh.add_pod("lasting")
    envoy = PodEnvoy(served.mesh.pods.wait_ready("lasting"))
    lost = envoy.wait_connected()
    i = servers.grpc_endpoints.index(lost)
    servers.kill(i)
    try:
        left = lambda: (envoy.server or lost) != lost  # noqa: E731
        wait_until(left, "another server", 10)
        assert envoy.wait_connected() != lost
    finally:
        servers.restart(i)
        served.mesh.pods.delete("lasting")
        served.mesh.pods.wait_gone("lasting")


def test_a_killed_controller_disturbs_no_pod(served: ServedPods) -> None:
    """Its container starts again; streams last, and new pods come up."""
    served.mesh.add_pod("steady")
    pod = served.mesh.pods.wait_ready("steady")
    envoy = PodEnvoy(pod)
    envoy.wait_connected()
    before = envoy.stat("control_plane.connected_state")
    opened = envoy.upstream_cx_total
    served.controller.kill()
    served.mesh.add_pod("after")
    served.mesh.pods.wait_ready("after", timeout=60)
    assert (envoy.stat("control_plane.connected_state"), envoy.upstream_cx_total) == (
        before,
        opened,
    )
    for name in ("steady", "after"):
        assert restarts(served.mesh.pods.wait_ready(name)) == 0
        served.mesh.pods.delete(name)
        served.mesh.pods.wait_gone(name)
