"""What the pods of consul-k8s have in common, and the values of its chart."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

DIRECTORY = "/consul/connect-inject"
DATA = "consul-connect-inject-data"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
SERVER = "consul-server.consul.svc"
DATAPLANE = "hashicorp/consul-dataplane:2.0.0"
CONTROL_PLANE = "hashicorp/consul-k8s-control-plane:2.0.0"
RESTRICTED: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Mesh:
    """The values of its chart, and of a pod's annotations, that show in a pod."""

    tproxy: bool = True
    dns: bool = False
    lifecycle: bool = True
    native: bool = False
    acls: bool = False
    tls: bool = False
    six: bool = False
    uid: int = 5995
    merged: bool = False
    ready: bool = False
    services: tuple[str, ...] = ("web",)
    extra: tuple[str, ...] = ()

    @property
    def loopback(self) -> str:
        return "::1" if self.six else "127.0.0.1"


def value(name: str, text: str) -> Json:
    return {"name": name, "value": text}


def field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def token_volume() -> Json:
    source = {"expirationSeconds": 3607, "path": "token"}
    return {
        "name": "kube-api-access-x7k2p",
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": source},
                {"configMap": {"name": "kube-root-ca.crt"}},
            ],
        },
    }


TOKEN_MOUNT = {"name": "kube-api-access-x7k2p", "mountPath": TOKEN, "readOnly": True}
