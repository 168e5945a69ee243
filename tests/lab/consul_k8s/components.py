"""Pods that are not injected: gateways and the telemetry collector."""

import json
from collections.abc import Iterable

from tests.lab.consul_k8s.injection import injected
from tests.lab.consul_k8s.pieces import (
    CONTROL_PLANE,
    DATA,
    DATAPLANE,
    DIRECTORY,
    RESTRICTED,
    SERVER,
    TOKEN,
    TOKEN_MOUNT,
    Json,
    Mesh,
    field,
    token_volume,
    value,
)


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
