"""Pods as consul-k8s makes them: injected ones, gateways, the telemetry collector.

After what its injector and chart are read to write (August 2026), in their order of
options and variables; `python -m tests.lab.consul_k8s` writes the golden files' pods.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

GOLDEN = Path(__file__).parents[1] / "golden" / "consul-k8s"
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


def token_mount(mesh: Mesh, service: str) -> list[Json]:
    """Return the mount of the bearer token."""
    if not mesh.acls:
        return []
    if service in {"", "web"}:
        return [TOKEN_MOUNT]
    path = f"/consul/serviceaccount-{service}"
    return [{"name": f"{service}-service-account", "readOnly": True, "mountPath": path}]


def connect_init(mesh: Mesh, service: str) -> Json:
    """Return the init container that waits for the registration."""
    script = (
        "consul-k8s-control-plane connect-init -pod-name=${POD_NAME}"
        " -pod-namespace=${POD_NAMESPACE} \\\n"
        "  -log-level=info \\\n  -log-json=false \\\n"
    )
    if mesh.acls:
        script += f'  -service-account-name="{service or "web"}" \\\n'
        script += f'  -service-name="{service}" \\\n'
    if service:
        script += "  -multiport=true \\\n"
        script += f"  -proxy-id-file={DIRECTORY}/proxyid-{service} \\\n"
        if not mesh.acls:
            script += f'  -service-name="{service}" \\\n'
    environment = [
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("NODE_NAME", "spec.nodeName"),
        value("CONSUL_ADDRESSES", SERVER),
        value("CONSUL_GRPC_PORT", "8502"),
        value("CONSUL_HTTP_PORT", "8501" if mesh.tls else "8500"),
        value("CONSUL_API_TIMEOUT", "5m0s"),
        value("CONSUL_NODE_NAME", "$(NODE_NAME)-virtual"),
        value("CONSUL_DUAL_STACK", "true" if mesh.six else "false"),
    ]
    if mesh.acls:
        environment += [
            value("CONSUL_LOGIN_AUTH_METHOD", "consul-k8s-auth-method"),
            value("CONSUL_LOGIN_META", "pod=$(POD_NAMESPACE)/$(POD_NAME)"),
        ]
    made = {
        "name": "-".join(filter(None, ("consul-connect-inject-init", service))),
        "image": CONTROL_PLANE,
        "env": environment,
        "resources": {"limits": {"cpu": "50m"}, "requests": {"cpu": "50m"}},
        "volumeMounts": [
            {"name": DATA, "mountPath": DIRECTORY},
            *token_mount(mesh, service),
        ],
        "command": ["/bin/sh", "-ec", script],
    }
    if mesh.tproxy:
        rules = '{"ConsulDNSIP":"","ProxyUserID":"%d"}' % mesh.uid  # noqa: UP031
        environment.append(value("CONSUL_REDIRECT_TRAFFIC_CONFIG", rules))
        made["securityContext"] = {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "privileged": False,
            "capabilities": {"add": ["NET_ADMIN"]},
        }
    else:
        made["securityContext"] = RESTRICTED
    return made


def sidecar(mesh: Mesh, index: int, service: str) -> Json:
    """Return the container of consul-dataplane."""
    probe: Json = {"tcpSocket": {"port": 20000 + index}, "initialDelaySeconds": 1}
    environment = [
        value("TMPDIR", DIRECTORY),
        field("NODE_NAME", "spec.nodeName"),
        value("DP_SERVICE_NODE_NAME", "$(NODE_NAME)-virtual"),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_UID", "metadata.uid"),
        value("DP_CREDENTIAL_LOGIN_META", "pod=$(POD_NAMESPACE)/$(POD_NAME)"),
        value("DP_CREDENTIAL_LOGIN_META1", "pod=$(POD_NAMESPACE)/$(POD_NAME)"),
        value("DP_CREDENTIAL_LOGIN_META2", "pod-uid=$(POD_UID)"),
        field("HOST_IP", "status.hostIP"),
    ]
    made: Json = {
        "name": "-".join(filter(None, ("consul-dataplane", service))),
        "image": DATAPLANE,
        "resources": {},
        "env": environment,
        "volumeMounts": [
            {"name": DATA, "mountPath": DIRECTORY},
            *token_mount(mesh, service),
        ],
        "args": list(arguments(mesh, index, service)),
        "readinessProbe": probe,
        "securityContext": {
            **RESTRICTED,
            "runAsUser": mesh.uid,
            "runAsGroup": mesh.uid,
        },
    }
    if mesh.ready:
        port = 21000 + index
        environment.append(field("DP_ENVOY_READY_BIND_ADDRESS", "status.podIP"))
        made["ports"] = [{"name": f"proxy-health-{index}", "containerPort": port}]
        made["readinessProbe"] = {
            "httpGet": {"port": port, "path": "/ready"},
            "initialDelaySeconds": 1,
        }
    if mesh.native:
        made["restartPolicy"] = "Always"
        command = ["/usr/local/bin/consul-dataplane", "-check-proxy-health"]
        made["startupProbe"] = {
            "exec": {"command": command},
            "initialDelaySeconds": 1,
            "periodSeconds": 1,
            "failureThreshold": 30,
            "timeoutSeconds": 5,
        }
    return made


def arguments(mesh: Mesh, index: int, service: str) -> Iterator[str]:
    """Yield consul-dataplane's words."""
    yield from ("-addresses", SERVER)
    yield f"-envoy-admin-bind-address={mesh.loopback}"
    yield f"-consul-dns-bind-addr={mesh.loopback}"
    yield f"-xds-bind-addr={mesh.loopback}"
    yield "-grpc-port=8502"
    file = "-".join(filter(None, ("proxyid", service)))
    yield f"-proxy-service-id-path={DIRECTORY}/{file}"
    yield "-log-level=info"
    yield "-log-json=false"
    yield "-envoy-concurrency=2"
    yield f"-graceful-addr={mesh.loopback}"
    if mesh.acls:
        own = service in {"", "web"}
        path = TOKEN if own else f"/consul/serviceaccount-{service}"
        yield "-credential-type=login"
        yield "-login-auth-method=consul-k8s-auth-method"
        yield f"-login-bearer-token-path={path}/token"
    if mesh.tls:
        yield "-tls-server-name=server.dc1.consul"
        yield f"-ca-certs={DIRECTORY}/consul-ca.pem"
    else:
        yield "-tls-disabled"
    if mesh.ready:
        yield f"-envoy-ready-bind-port={21000 + index}"
    if service:
        yield f"-envoy-admin-bind-port={19000 + index}"
    yield f"-graceful-port={20600 + index}"
    if mesh.lifecycle:
        yield "-shutdown-drain-listeners"
        yield "-shutdown-grace-period-seconds=30"
        yield "-graceful-shutdown-path=/graceful_shutdown"
        yield "-startup-grace-period-seconds=0"
        yield "-graceful-startup-path=/graceful_startup"
    yield "-telemetry-prom-scrape-path=/metrics"
    if mesh.merged:
        yield "-telemetry-prom-merge-port=20100"
        yield "-telemetry-prom-service-metrics-url=http://127.0.0.1:9090/metrics"
    if mesh.dns:
        yield "-consul-dns-bind-port=8600"
    base = ["--base-id", str(index)] if service else []
    if base or mesh.extra:
        yield from ("--", *base, *mesh.extra)


def component(
    name: str, kind: str, words: Iterable[str], *, privileged: bool = False
) -> Json:
    """Return a pod that is not injected, such as a gateway's, with ACLs and TLS."""
    login = [
        field("NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
    ]
    mounts: list[Json] = [
        {"name": "consul-service", "mountPath": "/consul/service"},
        {"name": "consul-ca-cert", "mountPath": "/consul/tls/ca", "readOnly": True},
        TOKEN_MOUNT,
    ]
    method = "consul-k8s-component-auth-method"
    script = (
        "exec consul-k8s-control-plane connect-init -pod-name=${POD_NAME}"
        " -pod-namespace=${NAMESPACE} \\\n"
        f'  -gateway-kind="{kind}" \\\n'
        "  -proxy-id-file=/consul/service/proxy-id \\\n"
        f"  -service-name={name} \\\n"
        "  -log-level=info \\\n  -log-json=false\n"
    )
    init = {
        "name": f"{kind}-init",
        "image": CONTROL_PLANE,
        "env": [
            *login,
            field("NODE_NAME", "spec.nodeName"),
            value("CONSUL_LOGIN_AUTH_METHOD", method),
            value("CONSUL_NODE_NAME", "$(NODE_NAME)-virtual"),
        ],
        "command": ["/bin/sh", "-ec", script],
        "volumeMounts": mounts,
        "securityContext": RESTRICTED,
    }
    own: list[Json] = [{**mounts[0], "readOnly": True}, *mounts[1:]]
    program = "privileged-consul-dataplane" if privileged else "consul-dataplane"
    executable = "-envoy-executable-path=/usr/local/bin/privileged-envoy"
    container = {
        "name": kind,
        "image": DATAPLANE,
        "command": [program],
        "args": [
            *([executable] if privileged else []),
            f"-addresses={SERVER}",
            "-grpc-port=8502",
            "-proxy-service-id-path=/consul/service/proxy-id",
            "-ca-certs=/consul/tls/ca/tls.crt",
            "-credential-type=login",
            f"-login-bearer-token-path={TOKEN}/token",
            f"-login-auth-method={method}",
            "-log-level=info",
            "-log-json=false",
            "-envoy-admin-bind-address=127.0.0.1",
            "-xds-bind-addr=127.0.0.1",
            "-graceful-addr=127.0.0.1",
            "-consul-dns-bind-addr=127.0.0.1",
            *words,
        ],
        "env": [
            *login,
            field("HOST_IP", "status.hostIP"),
            field("NODE_NAME", "spec.nodeName"),
            value("DP_CREDENTIAL_LOGIN_META1", "pod=$(NAMESPACE)/$(POD_NAME)"),
            value("DP_CREDENTIAL_LOGIN_META2", f"component={kind}"),
            value("DP_SERVICE_NODE_NAME", "$(NODE_NAME)-virtual"),
        ],
        "volumeMounts": own,
        "securityContext": RESTRICTED,
        "livenessProbe": {"tcpSocket": {"port": 8443}, "initialDelaySeconds": 30},
        "readinessProbe": {"tcpSocket": {"port": 8443}, "initialDelaySeconds": 10},
        "ports": [{"name": "gateway", "containerPort": 8443}],
    }
    secret = {
        "secretName": "consul-ca-cert",
        "items": [{"key": "tls.crt", "path": "tls.crt"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"consul-{name}-",
            "annotations": {
                "consul.hashicorp.com/connect-inject": "false",
                "consul.hashicorp.com/gateway-kind": kind,
                "consul.hashicorp.com/gateway-consul-service-name": name,
            },
        },
        "spec": {
            "serviceAccountName": f"consul-{name}",
            "terminationGracePeriodSeconds": 10,
            "initContainers": [init],
            "containers": [container],
            "volumes": [
                {"name": "consul-service", "emptyDir": {"medium": "Memory"}},
                {"name": "consul-ca-cert", "secret": secret},
                token_volume(),
            ],
        },
    }


def ingress() -> Json:
    """Return an ingress gateway's pod: one with a listener for /ready, at port 80."""
    words = ["-envoy-ready-bind-port=21000"]
    pod = component("ingress-gateway", "ingress-gateway", words, privileged=True)
    (container,) = pod["spec"]["containers"]
    address = field("DP_ENVOY_READY_BIND_ADDRESS", "status.podIP")
    container["env"] += [field("POD_IP", "status.podIP"), address]
    container["securityContext"] = {**RESTRICTED, "runAsUser": 100}
    return pod


def api() -> Json:
    """Return an API gateway's pod, as the gateway controller makes it."""
    mesh = Mesh(tproxy=False, lifecycle=False, acls=True, tls=True, ready=True)
    pod = injected(mesh)
    pod["metadata"] = {
        "generateName": "api-gateway-",
        "annotations": {
            "consul.hashicorp.com/connect-inject": "false",
            "consul.hashicorp.com/gateway-kind": "api-gateway",
            "consul.hashicorp.com/gateway-consul-service-name": "api-gateway",
        },
    }
    del pod["spec"]["containers"][0]
    (container,) = pod["spec"]["containers"]
    (init,) = pod["spec"]["initContainers"]
    pod["spec"]["serviceAccountName"] = container["name"] = "api-gateway"
    graceful = [each for each in container["args"] if "graceful-port" not in each]
    container["args"] = [*graceful, "-login-meta=gateway=default/api-gateway"]
    known = {"TMPDIR", "NODE_NAME", "DP_SERVICE_NODE_NAME"}
    container["env"] = [
        each
        for each in container["env"]
        if each["name"] in known or "READY" in each["name"]
    ]
    container["securityContext"] = RESTRICTED
    init["command"][2] = (
        "consul-k8s-control-plane connect-init -pod-name=${POD_NAME}"
        " -pod-namespace=${POD_NAMESPACE} \\\n"
        '\t-gateway-kind="api-gateway" \\\n  -log-json=false \\\n'
        '  -service-account-name="api-gateway" \\\n  -service-name="api-gateway"'
    )
    return pod


def collector() -> Json:
    """Return the telemetry collector's pod: an application and a proxy by hand."""
    name = "consul-telemetry-collector"
    text = json.dumps(component(name, name, ()))
    text = text.replace("/consul/service/proxy-id", f"{DIRECTORY}/proxyid")
    text = text.replace("/consul/service", DIRECTORY).replace("consul-service", DATA)
    pod: Json = json.loads(text.replace("k8s-component-auth", "k8s-auth"))
    spec = pod["spec"]
    pod["metadata"]["annotations"] = {
        "consul.hashicorp.com/connect-inject": "false",
        "consul.hashicorp.com/connect-inject-status": "injected",
    }
    spec["serviceAccountName"] = name
    (init,) = spec["initContainers"]
    init["name"] = "consul-connect-init"
    init["command"][2] = (
        "exec consul-k8s-control-plane connect-init \\\n"
        "  -log-json=false \\\n  -log-level=info \\\n"
        "  -pod-name=${POD_NAME} \\\n  -pod-namespace=${POD_NAMESPACE} \\\n"
        f'  -proxy-id-file="{DIRECTORY}/proxyid" \\\n'
        f'  -service-account-name="{name}" \\\n  -service-name=""'
    )
    application = {
        "name": name,
        "image": f"hashicorp/{name}:0.0.2",
        "command": ["/bin/sh", "-ec", f"exec {name} agent \\\n"],
    }
    (proxy,) = spec["containers"]
    del proxy["livenessProbe"]
    proxy["name"] = "consul-dataplane"
    proxy["env"].append(value("TMPDIR", DIRECTORY))
    proxy["readinessProbe"] = {"tcpSocket": {"port": 20000}, "initialDelaySeconds": 1}
    proxy["securityContext"] = {
        "readOnlyRootFilesystem": True,
        "runAsGroup": 5995,
        "runAsNonRoot": True,
        "runAsUser": 5995,
    }
    spec["containers"] = [application, proxy]
    return pod


PODS = {
    "default": injected(Mesh()),
    "tproxy-off": injected(Mesh(tproxy=False)),
    "lifecycle-off": injected(Mesh(lifecycle=False)),
    "native-sidecar": injected(Mesh(native=True, acls=True, tls=True)),
    "two-services": injected(
        Mesh(tproxy=False, acls=True, tls=True, services=("web", "web-admin"))
    ),
    "acls-tls": injected(
        Mesh(acls=True, tls=True, extra=("--component-log-level", "upstream:debug"))
    ),
    "ready-listener": injected(Mesh(ready=True)),
    "ipv6": injected(Mesh(six=True, ready=True)),
    "openshift": injected(Mesh(uid=1000799999)),
    "merged-metrics": injected(Mesh(merged=True)),
    "dns": injected(Mesh(dns=True, acls=True, tls=True)),
    "mesh-gateway": component("mesh-gateway", "mesh-gateway", (), privileged=True),
    "ingress-gateway": ingress(),
    "terminating-gateway": component("terminating-gateway", "terminating-gateway", ()),
    "api-gateway": api(),
    "telemetry-collector": collector(),
}
"""The pods of the golden files, by name."""


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, pod in PODS.items():
        text = json.dumps(pod, indent=1)
        (GOLDEN / f"{name}.before.json").write_text(f"{text}\n")
