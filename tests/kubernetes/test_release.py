"""A release of the chart, from its install to its end, with pods that it serves."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kubernetes.api import Object, restarts
from tests.lab.kubernetes.consul import NAMESPACE
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.local import COMMAND
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.release import Release
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.helm,
    pytest.mark.slow,
]

WEBHOOK = "consul-ebpf-webhook"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
STATUS = "consul-ebpf.io/status"


@pytest.fixture
def release(consul_bin: Path, envoy_bin: Path) -> Iterator[Release]:
    with PodsMesh(consul_bin, envoy_bin) as running, Release(running) as made:
        yield made


def kept(release: Release) -> tuple[Any, str]:
    """Return the Secret's data and the `caBundle`."""
    api = release.cluster.api
    secret = api.find(f"/api/v1/namespaces/{NAMESPACE}/secrets/{WEBHOOK}")
    found = api.find(f"{CONFIGURATIONS}/zz-consul-ebpf")
    assert secret
    assert found
    bundle = found["webhooks"][0]["clientConfig"].get("caBundle", "")
    return secret.get("data"), base64.b64decode(bundle).decode()


def status(pod: Object) -> str:
    """Return what the webhook wrote on a pod."""
    return str(pod["metadata"].get("annotations", {}).get(STATUS, ""))


def start(release: Release, mesh: PodsMesh, name: str) -> PodEnvoy:
    """Start a pod of the mesh that is rewritten; return its Envoy, connected."""
    mesh.add_pod("web", name)
    try:
        pod = mesh.pods.wait_ready(name)
    except Exception as error:
        error.add_note(release.logs())
        raise
    assert status(pod) == "rewritten"
    envoy = PodEnvoy(pod)
    envoy.wait_connected()
    return envoy


def test_a_whole_life(release: Release) -> None:
    """Install, upgrade, roll back, uninstall: no stream breaks, no object is left."""
    mesh, cluster = release.mesh, release.cluster
    release.install(webhook={"enabled": False})
    assert release.pods(WEBHOOK) == []
    doctor = release.cluster.kubectl(
        "exec", "-n", NAMESPACE, "daemonset/consul-ebpf", "--",
        *COMMAND, "doctor", "--config", "/etc/consul-ebpf/config.toml",
    )  # fmt: skip
    assert "FAIL" not in doctor

    release.install("upgrade")
    wait_until(lambda: kept(release)[1], "the caBundle")
    data, bundle = kept(release)
    assert set(data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert base64.b64decode(data["ca.crt"]).decode() == bundle
    envoy = start(release, mesh, "web-1")
    opened = envoy.upstream_cx_total
    node, hooks = release.pods("consul-ebpf"), release.pods(WEBHOOK)
    assert (len(node), len(hooks)) == (1, 2)

    changed = {"node": {"maxProxies": 1000}, "dns": {"enabled": True}}
    release.install("upgrade", **changed)
    assert (
        release.pods("consul-ebpf")[0]["metadata"]["uid"]
        != (node[0]["metadata"]["uid"])
    )
    assert kept(release) == (data, bundle)
    release.helm("rollback", "--wait", "--timeout=2m")
    assert kept(release) == (data, bundle)
    start(release, mesh, "web-2")
    assert (envoy.upstream_cx_total, envoy.connected_state) == (opened, True)
    assert restarts(mesh.pods.wait_ready("web-1")) == 0

    release.install("upgrade", webhook={"enabled": False})
    assert cluster.api.find(f"{CONFIGURATIONS}/zz-consul-ebpf") is None
    for name in ("web-1", "web-2"):
        mesh.pods.delete(name)
        mesh.pods.wait_gone(name)
    classic = mesh.add_pod("web", "web-3")
    assert status(classic) == ""
    assert "consul-ebpf" not in {each["name"] for each in classic["spec"]["volumes"]}
    release.helm("uninstall", "--wait", "--timeout=1m")
    kinds = "all,secrets,configmaps,serviceaccounts,roles,rolebindings,pdb"
    of_cluster = (
        "csidrivers,clusterroles,clusterrolebindings,mutatingwebhookconfigurations"
    )

    def left() -> str:
        inside = cluster.kubectl("get", kinds, "-n", NAMESPACE, "-o", "name")
        return inside + cluster.kubectl("get", of_cluster, "-o", "name")

    # Helm waits for its own objects; their pods end a moment later.
    wait_until(lambda: "consul-ebpf" not in left(), "nothing left in the cluster", 30)
