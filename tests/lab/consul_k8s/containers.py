"""The containers that consul-k8s's injector adds to a pod."""

from collections.abc import Iterator

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
    value,
)


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
