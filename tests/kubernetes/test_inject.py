"""A pod without consul-k8s has its Envoy as a native sidecar; a user registers it."""

import pytest

from tests.lab.kubernetes.consul import METHOD, service_account
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.injected import INJECT, STATUS
from tests.lab.kubernetes.mesh import meshed
from tests.lab.kubernetes.served import ServedPods

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]

OURS = {
    "consul-ebpf.io/inject": "true",
    "consul-ebpf.io/auth-method": METHOD,
    # What registers the lab's pods looks for this; consul-k8s's webhook does not come.
    STATUS: "injected",
}


def test_an_envoy_before_the_application(served: ServedPods) -> None:
    """It is ready before the application starts, logs in, and ends with the pod."""
    mesh = served.mesh
    mesh.cluster.apply(service_account("alone"))
    pod = meshed("alone", annotations=OURS)
    del pod["metadata"]["annotations"][INJECT]
    made = mesh.pods.create(pod)
    assert made["metadata"]["annotations"]["consul-ebpf.io/status"] == "injected"
    assert [each["name"] for each in made["spec"]["containers"]] == ["application"]
    running = mesh.pods.wait_ready("alone", timeout=60)
    envoy = PodEnvoy(running)
    assert envoy.wait_connected()
    assert any("default/alone" in each for each in served.tokens("alone"))
    mesh.pods.delete("alone")
    mesh.pods.wait_gone("alone")
