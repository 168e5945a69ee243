"""What consul-k8s's webhook adds to a pod, after what is published of it.

The shapes are those of its releases of 2025 and 2026: an init container that writes the
proxy's id, a container with consul-dataplane, and the directory that both have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.lab.kubernetes.consul import GRPC_PORT, METHOD, SERVER_NAME
from tests.lab.kubernetes.files import CONSUL_ADDRESSES
from tests.lab.kubernetes.images import CONTROL_PLANE, DATAPLANE

Object = dict[str, Any]

INJECT = "consul.hashicorp.com/connect-inject"
STATUS = "consul.hashicorp.com/connect-inject-status"
SERVICE = "consul.hashicorp.com/connect-service"
DIRECTORY = "/consul/connect-inject"
_VOLUME = "consul-connect-inject-data"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"

_INIT = """
consul-k8s-control-plane connect-init -pod-name=${POD_NAME} -pod-namespace=${POD_NAMESPACE} \\
  -log-level=info \\
  -log-json=false \\
  -service-account-name="SERVICE" \\
  -service-name="SERVICE" \\
"""  # noqa: E501  # as it is there, the last backslash too


@dataclass(frozen=True)
class Settings:
    """The values of its chart that show in a pod."""

    native_sidecar: bool = False
    lifecycle: bool = True
    dns: bool = False
    grace_seconds: int = 30
    image: str = DATAPLANE
    init_image: str = CONTROL_PLANE


def wanted(pod: Mapping[str, Any]) -> bool:
    """Say whether a pod asks for it and has it not yet."""
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(INJECT) == "true" and STATUS not in annotations


def service_of(pod: Mapping[str, Any]) -> str:
    """Return the service that a pod is: by its annotation, or as its ServiceAccount."""
    annotations = pod["metadata"].get("annotations") or {}
    account = pod["spec"].get("serviceAccountName", "default")
    return str(annotations.get(SERVICE) or account)


def patch(pod: Mapping[str, Any], settings: Settings) -> list[Object]:
    """Return the JSON patch that makes a pod one of the mesh."""
    spec, metadata = pod["spec"], pod["metadata"]
    token = _token_mount(spec)
    sidecar = _sidecar(settings, token)
    inits = [_init(service_of(pod), settings, token), *spec.get("initContainers", [])]
    containers = [*spec["containers"]]
    if settings.native_sidecar:
        inits.insert(1, {**sidecar, "restartPolicy": "Always"})
    else:
        containers.append(sidecar)
    empty = {"name": _VOLUME, "emptyDir": {"medium": "Memory"}}
    annotations = {**(metadata.get("annotations") or {}), STATUS: "injected"}
    labels = {**(metadata.get("labels") or {}), STATUS: "injected"}
    return [
        _add("/spec/volumes", [*spec.get("volumes", []), empty]),
        _add("/spec/initContainers", inits),
        _add("/spec/containers", containers),
        _add("/metadata/annotations", annotations),
        _add("/metadata/labels", labels),
    ]


def _init(service: str, settings: Settings, token: list[Object]) -> Object:
    environment = [
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("NODE_NAME", "spec.nodeName"),
        _value("CONSUL_ADDRESSES", ",".join(CONSUL_ADDRESSES)),
        _value("CONSUL_GRPC_PORT", str(GRPC_PORT)),
        _value("CONSUL_HTTP_PORT", "8501"),
        _value("CONSUL_API_TIMEOUT", "5m0s"),
        _value("CONSUL_NODE_NAME", "$(NODE_NAME)-virtual"),
        _value("CONSUL_LOGIN_AUTH_METHOD", METHOD),
        _value("CONSUL_LOGIN_BEARER_TOKEN_FILE", f"{_TOKEN}/token"),
        _value("CONSUL_LOGIN_META", "pod=$(POD_NAMESPACE)/$(POD_NAME)"),
    ]
    return {
        "name": "consul-connect-inject-init",
        "image": settings.init_image,
        "imagePullPolicy": "Never",
        "env": environment,
        "command": ["/bin/sh", "-ec", _INIT.replace("SERVICE", service)],
        "volumeMounts": [{"name": _VOLUME, "mountPath": DIRECTORY}, *token],
        "securityContext": {"runAsUser": 5996, "runAsGroup": 5996},
    }


def _sidecar(settings: Settings, token: list[Object]) -> Object:
    probe = {
        "tcpSocket": {"port": 20000},
        "initialDelaySeconds": 1,
        "periodSeconds": 2,
    }
    return {
        "name": "consul-dataplane",
        "image": settings.image,
        "imagePullPolicy": "Never",
        "resources": {},
        "env": [
            _value("TMPDIR", DIRECTORY),
            _field("NODE_NAME", "spec.nodeName"),
            _value("DP_SERVICE_NODE_NAME", "$(NODE_NAME)-virtual"),
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            _field("POD_UID", "metadata.uid"),
            _value("DP_CREDENTIAL_LOGIN_META", "pod=$(POD_NAMESPACE)/$(POD_NAME)"),
            _value("DP_CREDENTIAL_LOGIN_META1", "pod=$(POD_NAMESPACE)/$(POD_NAME)"),
            _value("DP_CREDENTIAL_LOGIN_META2", "pod-uid=$(POD_UID)"),
        ],
        "volumeMounts": [{"name": _VOLUME, "mountPath": DIRECTORY}, *token],
        "args": _arguments(settings),
        "readinessProbe": probe,
        "ports": [
            {"name": "proxy-health-0", "containerPort": 21000, "protocol": "TCP"}
        ],
        "securityContext": {
            "runAsUser": 5995,
            "runAsGroup": 5995,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _arguments(settings: Settings) -> list[str]:
    grace = settings.grace_seconds
    return [
        "-addresses",
        ",".join(CONSUL_ADDRESSES),
        f"-grpc-port={GRPC_PORT}",
        f"-proxy-service-id-path={DIRECTORY}/proxyid",
        "-log-level=info",
        "-log-json=false",
        "-envoy-concurrency=2",
        "-credential-type=login",
        f"-login-auth-method={METHOD}",
        f"-login-bearer-token-path={_TOKEN}/token",
        f"-tls-server-name={SERVER_NAME}",
        f"-ca-certs={DIRECTORY}/consul-ca.pem",
        "-graceful-port=20600",
        *(
            ["-shutdown-drain-listeners", f"-shutdown-grace-period-seconds={grace}"]
            if settings.lifecycle
            else []
        ),
        "-graceful-shutdown-path=/graceful_shutdown",
        "-startup-grace-period-seconds=0",
        "-graceful-startup-path=/graceful_startup",
        "-telemetry-prom-scrape-path=/metrics",
        *(["-consul-dns-bind-port=8600"] if settings.dns else []),
    ]


def _token_mount(spec: Mapping[str, Any]) -> list[Object]:
    """Return the first container's mount of its ServiceAccount's token, if any."""
    mounts = spec["containers"][0].get("volumeMounts") or []
    return [each for each in mounts if each["mountPath"] == _TOKEN]


def _value(name: str, value: str) -> Object:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}
