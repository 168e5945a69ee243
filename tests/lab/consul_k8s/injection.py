"""A pod as its author wrote it, and as consul-k8s's injector makes it."""

from tests.lab.consul_k8s.containers import (
    connect_init,
    sidecar,
)
from tests.lab.consul_k8s.pieces import (
    DATA,
    TOKEN_MOUNT,
    Json,
    Mesh,
    token_volume,
)


def application() -> Json:
    """Return a pod as its author and the API server made it."""
    container = {
        "name": "web",
        "image": "hashicorp/http-echo:1.0",
        "args": ["-listen=:9090", "-text=hello"],
        "ports": [{"containerPort": 9090, "protocol": "TCP"}],
        "resources": {},
        "volumeMounts": [TOKEN_MOUNT],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-6d4cf56db6-",
            "labels": {"app": "web"},
            "annotations": {"consul.hashicorp.com/connect-inject": "true"},
        },
        "spec": {
            "serviceAccountName": "web",
            "containers": [container],
            "volumes": [token_volume()],
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {
                    "key": "node.kubernetes.io/not-ready",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
            ],
        },
    }


def injected(mesh: Mesh) -> Json:
    """Return the pod after consul-k8s's webhook."""
    pod = application()
    spec, several = pod["spec"], len(mesh.services) > 1
    pod["metadata"]["labels"]["consul.hashicorp.com/connect-inject-status"] = "injected"
    pod["metadata"]["annotations"] |= {
        "consul.hashicorp.com/connect-inject-status": "injected",
        "consul.hashicorp.com/connect-k8s-version": "2.0.0",
        "consul.hashicorp.com/connect-service-port": "9090",
    }
    if several:
        names = ",".join(mesh.services)
        pod["metadata"]["annotations"]["consul.hashicorp.com/connect-service"] = names
    if mesh.tproxy:
        status = "consul.hashicorp.com/transparent-proxy-status"
        pod["metadata"]["annotations"][status] = "enabled"
    spec["volumes"].append({"name": DATA, "emptyDir": {"medium": "Memory"}})
    spec["initContainers"] = []
    sidecars: list[Json] = []
    for index, name in enumerate(mesh.services):
        if several and mesh.acls and name != spec["serviceAccountName"]:
            secret = {"secretName": name, "defaultMode": 420}
            account = f"{name}-service-account"
            spec["volumes"].append({"name": account, "secret": secret})
        spec["initContainers"].append(connect_init(mesh, name if several else ""))
        made = sidecar(mesh, index, name if several else "")
        (spec["initContainers"] if mesh.native else sidecars).append(made)
    spec["containers"] = (
        [*sidecars, *spec["containers"]]
        if mesh.lifecycle
        else [*spec["containers"], *sidecars]
    )
    if mesh.dns:
        spec["dnsPolicy"] = "None"
        spec["dnsConfig"] = {
            "nameservers": [mesh.loopback, "10.96.0.10"],
            "searches": [
                "default.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
            ],
            "options": [{"name": "ndots", "value": "5"}],
        }
    return pod
