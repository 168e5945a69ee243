"""What stands in for consul-k8s does what consul-k8s does."""

import pytest

from tests.lab.kubernetes.arguments import NODE
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]

CLASSIC = {"consul-ebpf.io/rewrite": "false"}


def test_a_pod_is_injected_registered_and_taken_out(mesh: PodsMesh) -> None:
    admitted = mesh.add_pod("classic", annotations=CLASSIC)
    uid = admitted["metadata"]["uid"]
    containers = [each["name"] for each in admitted["spec"]["containers"]]
    assert containers == ["consul-dataplane", "application"]

    def proxies() -> list[str]:
        found = mesh.consul.proxies(f"{NODE}-virtual")
        return [each["ID"] for each in found if each["Meta"]["pod-uid"] == uid]

    wait_until(proxies, "its registration")
    assert proxies() == ["classic-classic-sidecar-proxy"]
    mesh.pods.delete("classic")
    mesh.pods.wait_gone("classic")
    wait_until(lambda: not proxies(), "the end of its registration")


def test_a_pod_logs_in_as_its_service_account(mesh: PodsMesh) -> None:
    """By the auth method that asks the cluster, and for a minute only as that."""
    mesh.add_pod("login", annotations=CLASSIC)
    token = mesh.cluster.kubectl("create", "token", "login").strip()
    login = {
        "AuthMethod": "consul-k8s-auth-method",
        "BearerToken": token,
        "Meta": {"pod": "default/login"},
    }
    made = mesh.consul.servers.call("POST", "/v1/acl/login", login, token="")
    (identity,) = made["ServiceIdentities"]
    assert identity["ServiceName"] == "login"

    def is_there() -> bool:  # the controller's own may be, too
        tokens = mesh.consul.tokens()
        return made["AccessorID"] in {each["AccessorID"] for each in tokens}

    assert is_there()
    wait_until(lambda: "default/login" in mesh.registrar.registrations, "registered")
    mesh.pods.delete("login")
    mesh.pods.wait_gone("login")
    wait_until(lambda: not is_there(), "the end of its token")
