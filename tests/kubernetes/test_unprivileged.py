"""The chart with `privileged: false`: six capabilities, and volumes on the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.helm import objects, rendered
from tests.lab.kubernetes.api import restarts
from tests.lab.kubernetes.daemonset import ControllerDaemonSet
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.manifests import DRIVER, NAME
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.webhook import Webhook

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.helm,
]


@pytest.fixture
def own_mesh(consul_bin: Path, envoy_bin: Path) -> Iterator[PodsMesh]:
    with PodsMesh(consul_bin, envoy_bin) as running:
        yield running


def test_pods_are_served_without_privileges(own_mesh: PodsMesh) -> None:
    """Kubelet takes a directory for a volume; its files are gone with its pod."""
    cluster = own_mesh.cluster
    made = [
        each
        for each in objects(rendered({"privileged": False}))
        if each["metadata"]["name"] in {NAME, DRIVER}
    ]
    table = {
        "enabled": True,
        "kubelet_directory": str(cluster.kubelet_directory),
        "volumes": "directory",
    }
    with (
        ControllerDaemonSet(own_mesh, {"kubernetes": table}, made) as controller,
        Webhook(cluster),
    ):
        (container,) = controller.pod()["spec"]["containers"]
        assert "privileged" not in container["securityContext"]
        own_mesh.add_pod("web")
        pod = own_mesh.pods.wait_ready("web")
        PodEnvoy(pod).wait_connected()
        assert restarts(pod) == 0
        written = list(cluster.kubelet_directory.glob("pods/*/volumes/*csi/*/mount/*"))
        assert "bootstrap.json" in {each.name for each in written}
        controller.kill()
        controller.wait_ready()
        own_mesh.add_pod("later")
        PodEnvoy(own_mesh.pods.wait_ready("later")).wait_connected()
        for name in ("web", "later"):
            own_mesh.pods.delete(name)
            own_mesh.pods.wait_gone(name)
        assert controller.status()["proxies"] == []
        assert not any(each.exists() for each in written)
