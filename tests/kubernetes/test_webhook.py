"""The webhook before a real API server: what it makes of pods is taken there."""

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.consul_k8s.pods import PODS
from tests.lab.kubernetes.admission import Injector
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.consul import service_account
from tests.lab.kubernetes.mesh import meshed
from tests.lab.kubernetes.webhook import Webhook

pytestmark = [pytest.mark.kernel, pytest.mark.kubernetes]

STATUS = "consul-ebpf.io/status"
DNS = "[dns]\nenabled = true"

Pod = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        names = {pod["spec"]["serviceAccountName"] for pod in PODS.values()}
        running.apply(*(service_account(name) for name in names))
        yield running


@pytest.fixture(scope="module")
def webhook(cluster: Cluster) -> Iterator[Webhook]:
    with Webhook(cluster, settings=DNS) as running:
        yield running


def admitted(cluster: Cluster, pod: Pod, namespace: str = "default") -> Pod:
    """Return a pod as the API server would have it; it is not made."""
    path = f"{cluster.pods.path(namespace=namespace)}?dryRun=All"
    made: Pod = cluster.api.create(path, pod)
    return made


def status(pod: Pod) -> str | None:
    said = (pod["metadata"].get("annotations") or {}).get(STATUS)
    return None if said is None else str(said)


def dataplanes(pod: Pod) -> list[str]:
    """Return the containers that have an option of consul-dataplane's."""
    spec = pod["spec"]
    return [
        each["name"]
        for each in (*spec.get("initContainers", ()), *spec["containers"])
        if any("proxy-service-id-path" in word for word in each.get("args", ()))
    ]


# These two come first: afterwards the others' webhook is there.


@pytest.mark.parametrize("name", ["aa-consul-ebpf", "zz-consul-ebpf"])
def test_fault_k_wrong_order_of_webhooks(cluster: Cluster, name: str) -> None:
    """There is none: before consul-k8s's or behind it, the pod is rewritten."""
    cluster.apply(service_account("ordered"))
    with Injector(cluster), Webhook(cluster, name=name) as webhook:
        made = admitted(cluster, meshed("ordered"))
        again = admitted(cluster, meshed("ordered"))
        log = webhook.log
    for pod in (made, again):
        assert status(pod) == "rewritten"
        assert dataplanes(pod) == []
        volumes = [each for each in pod["spec"]["volumes"] if "csi" in each]
        assert len(volumes) == 1
    assert log == ""


def test_fault_k_webhook_down(cluster: Cluster) -> None:
    """Pods are made as consul-k8s has them, at once, and work; nothing says skipped."""
    cluster.apply(service_account("without"))
    with Injector(cluster), Webhook(cluster, failure_policy="Ignore") as webhook:
        webhook.process.kill()
        begun = time.monotonic()
        made = admitted(cluster, meshed("without"))
        assert time.monotonic() - begun < 5
    assert status(made) is None
    assert dataplanes(made) == ["consul-dataplane"]


@pytest.mark.parametrize("name", sorted(PODS))
def test_what_is_made_is_a_pod(cluster: Cluster, webhook: Webhook, name: str) -> None:
    """The API server takes each golden pod as it is after the webhook."""
    pod = copy.deepcopy(PODS[name])
    pod["spec"]["tolerations"] = []
    made = admitted(cluster, pod)
    if name == "merged-metrics":
        assert status(made) == "skipped: -telemetry-prom-merge-port: merged metrics"
        assert dataplanes(made) == ["consul-dataplane"]
    else:
        assert status(made) == "rewritten"
        assert dataplanes(made) == []
    assert "Traceback" not in webhook.log


def test_a_namespace_that_is_not_to_be_rewritten(
    cluster: Cluster, webhook: Webhook
) -> None:
    """By its label: the webhook is not asked."""
    labels = {"consul-ebpf.io/rewrite": "disabled"}
    metadata = {"name": "classic", "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.apply(namespace, service_account("web", "classic"))
    made = admitted(cluster, PODS["tproxy-off"], "classic")
    assert status(made) is None
    assert dataplanes(made) == ["consul-dataplane"]


def test_an_envoy_without_consul_k8s(cluster: Cluster, webhook: Webhook) -> None:
    """A pod that asks for one is taken, also where Pod Security is `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": "restricted", "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.apply(namespace, service_account("api", "restricted"))
    pod = meshed("api", annotations={"consul-ebpf.io/inject": "true"})
    del pod["metadata"]["annotations"]["consul.hashicorp.com/connect-inject"]
    pod["spec"]["containers"][0]["securityContext"] = {
        "runAsUser": 1000,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    made = admitted(cluster, pod, "restricted")
    assert status(made) == "injected"
    names = [each["name"] for each in made["spec"]["initContainers"]]
    assert names == ["consul-ebpf-init", "consul-ebpf-envoy"]
