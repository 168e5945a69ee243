"""Pods that Consul or the node does not serve, and pods that want more than theirs."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.lab.kubernetes.api import Object, restarts
from tests.lab.kubernetes.arguments import NODE
from tests.lab.kubernetes.life import CSIDRIVERS, VOLUME, Life
from tests.lab.kubernetes.manifests import DRIVER
from tests.lab.kubernetes.mesh import meshed
from tests.lab.kubernetes.served import ServedPods
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]

MANY = tuple(f"many-{n}" for n in range(20))


@pytest.fixture
def life(served: ServedPods) -> Iterator[Life]:
    life = Life(served)
    yield life
    life.end_all()


def test_fault_k_no_registration(life: Life) -> None:
    """The init container says so, and goes on once Consul has it."""
    with life.mesh.registrar.held_back():
        life.start("unknown", wait=False)
        said = "Consul has no registration of pod default/unknown yet"
        life.wait_waiting("unknown", said)
        life.wait_log("unknown", said)
    assert restarts(life.ready("unknown")) == 0


def test_fault_k_login_refused(life: Life) -> None:
    """There is a VIP, but no token and no bootstrap; the volume says why."""
    life.start("default", wait=False)
    life.wait_waiting("default", "no ACL token yet")
    life.wait_waiting("default", "Permission denied")
    volume = life.wait_volume("default")
    assert not (volume / "bootstrap.json").exists()
    assert not life.tokens("default")


def test_fault_k_consul_away_while_pods_start(life: Life) -> None:
    """With servers known the volume is there, and the pod waits for Consul. Without
    any, there is no volume, and an event says why."""
    before = life.controller.config["consul"]
    with life.consul_away():
        life.start("known", wait=False)
        life.wait_volume("known")
        with life.down(wait=False):
            life.forget_servers()
            life.controller.configure(consul={**before, "source": "catalog"})
        life.start("nobody", wait=False)
        life.pods.wait_event("nobody", "no Consul server answered yet")
    for name in ("known", "nobody"):
        assert restarts(life.ready(name)) == 0
    life.controller.configure(consul=before)
    life.controller.replace()


def test_fault_k_no_csidriver_object(life: Life) -> None:
    """Kubelet says so; the pod runs once it is there."""
    driver = life.cluster.api.find(f"{CSIDRIVERS}/{DRIVER}")
    assert driver
    life.cluster.api.delete(f"{CSIDRIVERS}/{DRIVER}")
    try:
        life.start("undriven", wait=False)
        life.pods.wait_event("undriven", "no CSIDriver object")
    finally:
        kept = {key: driver[key] for key in ("apiVersion", "kind", "spec")}
        life.cluster.apply({**kept, "metadata": {"name": DRIVER}})
    assert restarts(life.ready("undriven")) == 0


def test_fault_k_no_token_requests(life: Life) -> None:
    """Nothing is made for the pod, and an event says what to change."""
    life.patch_driver(tokenRequests=[], serviceAccountTokenInSecrets=None)
    try:
        life.start("tokenless", wait=False)
        said = f"kubelet sent no service account token: CSIDriver {DRIVER}"
        life.pods.wait_event("tokenless", said)
        assert life.proxy("tokenless") is None
        assert life.mounted() == []
    finally:
        requests = [{"audience": "", "expirationSeconds": 3600}]
        life.patch_driver(tokenRequests=requests, serviceAccountTokenInSecrets=True)
    assert restarts(life.ready("tokenless")) == 0


def test_fault_k_vip_table_full(life: Life) -> None:
    """The pod waits for another one to go."""
    with life.configured(kernel={"max_proxies": 1}):
        life.start("only")
        life.start("toomany", wait=False)
        life.pods.wait_event("toomany", "kernel.max_proxies")
        life.end("only")
        assert restarts(life.ready("toomany")) == 0
        life.end("toomany")


def test_fault_k_volume_full(life: Life) -> None:
    """What cannot be written is tried again: the pod starts when there is room."""
    with life.mesh.registrar.held_back():
        life.start("full", wait=False)
        volume = life.wait_volume("full")
        fill = volume / "fill"
        with pytest.raises(OSError, match="No space"):
            fill.write_bytes(bytes(8 << 20))
    wait_until(lambda: "No space left" in life.controller.log(), "what the log says")
    assert not (volume / "bootstrap.json").exists()
    fill.unlink()
    assert restarts(life.ready("full")) == 0


def test_fault_k_pod_ends(life: Life) -> None:
    """Consul has deregistered it and deleted its token before it is gone: nobody logs
    in again meanwhile."""
    life.start("ends", terminationGracePeriodSeconds=6)
    assert life.tokens("ends")
    life.pods.delete("ends")
    wait_until(lambda: not life.tokens("ends"), "the end of its tokens")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert not life.tokens("ends")
        time.sleep(0.2)
    life.end("ends")


def test_fault_k_twenty_pods_at_once(life: Life) -> None:
    """Each has a VIP and an Envoy of its own; deleted at once, they leave nothing."""
    pods = life.start(*MANY)
    assert len({life.vip(pod) for pod in pods}) == len(MANY)
    for pod in pods:
        assert restarts(pod) == 0
        life.envoy(pod)
    life.end(*MANY)
    assert life.mounted() == []


def test_fault_k_another_pods_vip(life: Life) -> None:
    """It is refused like an address that nobody has."""
    pods = life.start("owner", "other")
    owned, others = (life.vip(pod) for pod in pods)
    assert owned != others

    def connected(name: str, vip: str) -> bool:
        """Connect from a pod; the server says nothing, so nc may have to be ended."""
        done = life.exec(name, "timeout", "2", "nc", vip, "8502")
        return "Operation not permitted" not in done.stderr

    for name, own, other in (("owner", owned, others), ("other", others, owned)):
        assert connected(name, own)
        assert not connected(name, other)
        assert not connected(name, "127.64.99.99")


def test_fault_k_forged_attributes(life: Life) -> None:
    """A pod's author gets nothing by what the pod's manifest says."""
    (victim,) = life.start("victim")
    told = {
        "csi.storage.k8s.io/pod.name": "victim",
        "csi.storage.k8s.io/pod.uid": victim["metadata"]["uid"],
        "csi.storage.k8s.io/serviceAccount.name": "victim",
        "csi.storage.k8s.io/serviceAccount.tokens": '{"": {"token": "forged"}}',
        "options": json.dumps(
            {
                "credential-type": "login",
                "login-auth-method": "consul-k8s-auth-method",
                "login-meta": ["pod=default/victim"],
            }
        ),
    }
    life.mesh.cluster.apply(*life.accounts("forger"))
    life.pods.create(forging("forger", told))
    life.wait_waiting("forger", "no registration of pod default/forger")
    assert not (life.wait_volume("forger") / "bootstrap.json").exists()
    (token,) = [each for each in life.consul.tokens() if is_of(each, "forger")]
    assert len(token["ServiceIdentities"]) == 1
    life.pods.create(forging("liar", {"directory": "/etc"}, account="forger"))
    life.pods.wait_event("liar", "is unknown; known are")


def is_of(token: Object, service: str) -> bool:
    identities = token.get("ServiceIdentities") or ()
    return any(each["ServiceName"] == service for each in identities)


def forging(name: str, attributes: dict[str, str], account: str = "") -> Object:
    pod = meshed(account or name, name)
    del pod["metadata"]["annotations"]
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"] = [{"name": VOLUME, "mountPath": "/consul-ebpf"}]
    csi = {"driver": DRIVER, "readOnly": True, "volumeAttributes": attributes}
    pod["spec"]["volumes"] = [{"name": VOLUME, "csi": csi}]
    return pod


def test_fault_k_forged_registration(life: Life) -> None:
    """A registration that names another pod takes nothing from that pod."""
    register = {
        "Node": f"{NODE}-virtual",
        "Address": "10.244.9.2",
        "SkipNodeUpdate": True,
    }
    meta = {"pod-name": "honest", "k8s-namespace": "default"}
    forged = {
        "Kind": "connect-proxy",
        "ID": "honest-thief-sidecar-proxy-2",
        "Service": "thief-sidecar-proxy",
        "Port": 20000,
        "Meta": meta,
        "Proxy": {"DestinationServiceName": "thief"},
    }
    call = life.consul.servers.call
    call("PUT", "/v1/catalog/register", {**register, "Service": forged})
    try:
        (pod,) = life.start("honest")
        bootstrap = json.loads((life.volume(pod) / "bootstrap.json").read_text())
        assert bootstrap["node"]["id"] == "honest-honest-sidecar-proxy"
    finally:
        body = {"Node": register["Node"], "ServiceID": forged["ID"]}
        call("PUT", "/v1/catalog/deregister", body)


def test_fault_k_secrets_are_shown_nowhere(life: Life) -> None:
    """Neither an ACL token nor a service account's: in no object, log or dump."""
    (pod,) = life.start("modest")
    envoy = life.envoy(pod)
    secrets = {life.secret(each) for each in life.consul.tokens()}
    secrets |= {path.read_text().strip() for path in life.bearers()}
    assert len(secrets) >= 3
    api = life.cluster.api
    shown = {
        "objects": json.dumps(
            [api.list(f"/api/v1/{kind}") for kind in ("pods", "events", "configmaps")]
        ),
        "the controller's log": life.controller.log(),
        "status": json.dumps(life.controller.status()),
        "config_dump": envoy.admin("/config_dump?include_eds").decode(),
        "bootstrap": (life.volume(pod) / "bootstrap.json").read_text(),
        "volumes.json": life.state("volumes.json"),
        "kubelet's log": life.cluster.log("kubelet"),
    }
    for where, text in shown.items():
        for secret in secrets:
            assert secret not in text, where
    for each in life.volume(pod).iterdir():
        status = each.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (5995, 0o600), each


def test_fault_k_token_renewed(life: Life) -> None:
    """A token that expires is replaced in time; the old one is logged out."""
    life.consul.set_method("60s")
    try:
        (pod,) = life.start("renews")
        envoy = life.envoy(pod)
        (first,) = life.tokens("renews")
        wait_until(lambda: first not in life.tokens("renews"), "another token", 65)
        envoy.wait_connected()
        (second,) = life.tokens("renews")
        assert second != first
        assert restarts(life.ready("renews")) == 0
    finally:
        life.consul.set_method()
