"""Pods of the real consul-k8s, where somebody has its binaries.

`CONSUL_K8S_BIN` is what `go build` makes of its repository's `control-plane`,
`CONSUL_K8S_CHART` its `charts/consul`, `CONSUL_DATAPLANE_BIN` a consul-dataplane.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.kubernetes import consul_k8s
from tests.lab.kubernetes.api import restarts
from tests.lab.kubernetes.consul_k8s import RealMesh
from tests.lab.kubernetes.daemonset import ControllerDaemonSet
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.webhook import Webhook
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.skipif(
        bool(consul_k8s.missing()), reason=f"not given: {consul_k8s.missing()}"
    ),
]

PLAIN = {"transparent_proxy": "false", "consul_dns": "false"}
PODS = {
    "plain": PLAIN,
    "transparent": {"consul_dns": "false"},
    "native": {**PLAIN, "enable_consul_dataplane_as_sidecar": "true"},
    "asking": {},
}
"""Pod -> its annotations. The last one has consul-k8s's defaults: DNS, too."""


@pytest.fixture
def real_mesh(consul_bin: Path, envoy_bin: Path) -> Iterator[RealMesh]:
    with RealMesh(consul_bin, envoy_bin) as running:
        yield running


def test_pods_of_the_real_consul_k8s_run_on_plain_envoys(real_mesh: RealMesh) -> None:
    """Its injector, its init container with its rules, its endpoints controller."""
    dns = {"enabled": True}
    with (
        ControllerDaemonSet(real_mesh, {"dns": dns}),
        Webhook(real_mesh.cluster, settings="[dns]\nenabled = true"),
    ):
        for name, annotations in PODS.items():
            real_mesh.add_service(name, **annotations)
        for name in PODS:
            pod = real_mesh.pods.wait_ready(name, timeout=90)
            status = pod["metadata"]["annotations"]["consul-ebpf.io/status"]
            assert (name, status) == (name, "rewritten")
            assert restarts(pod) == 0
            PodEnvoy(pod).wait_connected()
        for name in PODS:
            real_mesh.pods.delete(name)
            real_mesh.pods.wait_gone(name)
        wait_until(
            lambda: not [t for t in real_mesh.consul.tokens() if "pod-uid" in str(t)],
            "the end of the pods' tokens",
        )
