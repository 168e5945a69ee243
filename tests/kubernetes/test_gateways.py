"""Gateways are not injected: their pods are found by what they have, and joined."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.consul_k8s.pods import PODS
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.arguments import NODE
from tests.lab.kubernetes.consul import service_account
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.images import CONTROL_PLANE, DATAPLANE
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.served import ServedPods
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]

ELSEWHERE = ("consul-ca-cert", "kube-api-access-x7k2p")
"""Volumes that are in Consul's namespace, or that the API server adds by itself."""


def gateway(kind: str) -> dict[str, Any]:
    """Return a gateway's pod as consul-k8s makes it, with the lab's images."""
    pod = copy.deepcopy(PODS[kind])
    spec = pod["spec"]
    pod["metadata"]["name"] = kind
    del pod["metadata"]["generateName"]
    spec["tolerations"] = []
    spec["volumes"] = [v for v in spec["volumes"] if v["name"] not in ELSEWHERE]
    for each in (*spec["initContainers"], *spec["containers"]):
        init = "control-plane" in each["image"]
        each["image"] = CONTROL_PLANE if init else DATAPLANE
        each["imagePullPolicy"] = "Never"
        each["volumeMounts"] = [
            mount for mount in each["volumeMounts"] if mount["name"] not in ELSEWHERE
        ]
        for probe in ("livenessProbe", "readinessProbe"):
            each.pop(probe, None)  # nothing is configured that it could serve
    return pod


@contextmanager
def registered(mesh: PodsMesh, pod: Object) -> Iterator[None]:
    """Register a gateway as consul-k8s does: its pod's name is its ID."""
    metadata = pod["metadata"]
    kind = metadata["name"]
    meta = {"pod-name": kind, "k8s-namespace": "default"}
    if kind != "api-gateway":  # those have none
        meta["pod-uid"] = metadata["uid"]
    entry = {
        "Node": f"{NODE}-virtual",
        "Address": pod["status"]["hostIP"],
        "Service": {
            "Kind": kind,
            "ID": kind,
            "Service": pod["spec"]["serviceAccountName"],
            "Address": pod["status"]["podIP"],
            "Port": 8443,
            "Meta": meta,
        },
    }
    call = mesh.consul.servers.call
    call("PUT", "/v1/catalog/register", entry)
    try:
        yield
    finally:
        body = {"Node": entry["Node"], "ServiceID": kind}
        call("PUT", "/v1/catalog/deregister", body)


@pytest.mark.parametrize("kind", ["terminating-gateway", "api-gateway", "mesh-gateway"])
def test_a_gateway(served: ServedPods, kind: str) -> None:
    """It logs in by the components' auth method, and its Envoy has a stream."""
    mesh = served.mesh
    made = gateway(kind)
    mesh.cluster.apply(service_account(made["spec"]["serviceAccountName"]))
    admitted = mesh.pods.create(made)
    assert admitted["metadata"]["annotations"]["consul-ebpf.io/status"] == "rewritten"

    def placed() -> Object | None:
        pod = mesh.pods.get(kind)
        return pod if pod and pod["status"].get("podIP") else None

    pod = wait_until(placed, "the gateway's address")
    assert pod is not None
    with registered(mesh, pod):
        running = mesh.pods.wait_ready(kind)
        assert PodEnvoy(running).wait_connected()
        mesh.pods.delete(kind)
        mesh.pods.wait_gone(kind)
