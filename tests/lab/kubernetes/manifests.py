"""The CSIDriver and the DaemonSet of the lab, after the project's design."""

from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.consul import CA_SECRET, NAMESPACE

NAME = "consul-ebpf"
DRIVER = "csi.consul-ebpf.io"
CA_DIRECTORY = "/consul/tls/ca"
LISTEN = "127.0.0.1:9802"
CONFIG = "/etc/consul-ebpf/config.toml"


def default_manifests() -> list[Object]:
    """Return the CSIDriver and the DaemonSet, as the project deploys them."""
    driver = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {
            "attachRequired": False,
            "podInfoOnMount": True,
            "volumeLifecycleModes": ["Ephemeral"],
            "requiresRepublish": True,
            "fsGroupPolicy": "File",
            "storageCapacity": False,
            "tokenRequests": [{"audience": "", "expirationSeconds": 3600}],
            "serviceAccountTokenInSecrets": True,
        },
    }
    labels = {"app.kubernetes.io/name": NAME}
    daemonset = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": _pod()},
        },
    }
    return [driver, daemonset]


def _pod() -> Object:
    kubelet = "/var/lib/kubelet"
    made = {
        "plugin": (f"{kubelet}/plugins/{DRIVER}", "None"),
        "registry": (f"{kubelet}/plugins_registry", "None"),
        "pods": (f"{kubelet}/pods", "Bidirectional"),
        "cgroup": ("/sys/fs/cgroup", "None"),
        "bpf": ("/sys/fs/bpf", "None"),
        "run": ("/run/consul-ebpf", "None"),
        "state": ("/var/lib/consul-ebpf", "None"),
    }
    host, port = LISTEN.split(":")
    container = {
        "name": NAME,
        "image": "consul-ebpf",
        "args": ["run", "--config", CONFIG],
        "env": [
            {"name": "CONSUL_EBPF_CONFIG", "value": CONFIG},
            {"name": "NODE_NAME", "valueFrom": _field("spec.nodeName")},
            {"name": "HOST_IP", "valueFrom": _field("status.hostIP")},
        ],
        "securityContext": {"privileged": True},
        "readinessProbe": {
            "httpGet": {"host": host, "port": int(port), "path": "/v1/ready"},
            "periodSeconds": 1,
        },
        "volumeMounts": [
            *(
                {"name": name, "mountPath": path, "mountPropagation": how}
                for name, (path, how) in made.items()
            ),
            {"name": "config", "mountPath": "/etc/consul-ebpf"},
            {"name": "ca", "mountPath": CA_DIRECTORY},
        ],
    }
    directories = [
        {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
        for name, (path, _) in made.items()
    ]
    return {
        "serviceAccountName": NAME,
        "hostNetwork": True,
        "hostPID": True,
        "terminationGracePeriodSeconds": 15,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [
            *directories,
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "ca", "secret": {"secretName": CA_SECRET}},
        ],
    }


def _field(path: str) -> Object:
    return {"fieldRef": {"fieldPath": path}}
