"""Consul for a cluster's pods: ACLs, TLS, and logins by service account tokens.

Set up as consul-k8s's chart does it: gRPC is TLS on 8502, HTTPS on 8501, and the CA is
in a Secret of the chart's name.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.lab.certificates import SERVER_NAMES, Authority
from tests.lab.consul import ConsulCluster, ServerTls
from tests.lab.held import Held
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.files import CONSUL_ADDRESSES

NAMESPACE = "consul"
METHOD = "consul-k8s-auth-method"
COMPONENT_METHOD = "consul-k8s-component-auth-method"
CA_SECRET = "consul-ca-cert"
SERVER_NAME = SERVER_NAMES[0]
GRPC_PORT = 8502
ANYBODY = "00000000-0000-0000-0000-000000000002"
"""The anonymous token."""
REVIEWER = "consul-auth-method"
"""The service account by which Consul asks the API server whose a token is."""


class PodsConsul(Held):
    """Three servers at addresses that pods reach, with consul-k8s's auth method.

    A login gets the identity of the service that is named like the service account.
    """

    def __init__(self, consul: Path, cluster: Cluster) -> None:
        """Prepare; the cluster of Kubernetes runs."""
        self._consul = consul
        self._cluster = cluster
        self._authority = Authority(lifetime=timedelta(days=1))

    def hold(self, stack: ExitStack) -> None:
        """Start the servers, and have both sides know each other."""
        issued = self._authority.issue([*SERVER_NAMES, *CONSUL_ADDRESSES])
        tls = ServerTls(self._authority.pem, issued)
        servers = ConsulCluster(
            self._consul, CONSUL_ADDRESSES, acl=True, tls=tls, grpc_tls_port=GRPC_PORT
        )
        self.servers = stack.enter_context(servers)
        self.ca_file = self._cluster.root / "consul-ca.pem"
        self.ca_file.write_text(self._authority.pem)
        self._cluster.apply(_namespace(), self._secret(), *_reviewer())
        self._reviewer = service_account_token(self._cluster, REVIEWER)
        for method in (METHOD, COMPONENT_METHOD):
            self.set_method(method=method)
            rule = {
                "AuthMethod": method,
                "BindType": "service",
                "BindName": "${serviceaccount.name}",
                "Selector": 'serviceaccount.name!="default"',
            }
            self.servers.call("PUT", "/v1/acl/binding-rule", rule)

    def set_method(self, lifetime: str = "0s", method: str = METHOD) -> None:
        """Have logins accepted; with `0s` their tokens live for ever, as consul-k8s's.

        Consul takes no less than a minute.
        """
        config = {
            "Host": self._cluster.url,
            "CACert": self._cluster.credentials.ca,
            "ServiceAccountJWT": self._reviewer,
        }
        told = {"Name": method, "Type": "kubernetes", "MaxTokenTTL": lifetime}
        path = f"/v1/acl/auth-method/{method}"
        self.servers.call("PUT", path, {**told, "Config": config})

    def tokens(self) -> list[dict[str, Any]]:
        """Return the tokens that logins made and that are still there."""
        answer = self.servers.call("GET", f"/v1/acl/tokens?authmethod={METHOD}")
        assert isinstance(answer, list)
        return answer

    @contextmanager
    def readable_by_anybody(self) -> Iterator[None]:
        """Let the servers' DNS, which gets no token, tell what is registered."""
        call, token = self.servers.call, f"/v1/acl/token/{ANYBODY}"
        rules = "".join(
            f'{kind}_prefix "" {{ policy = "read" }}\n' for kind in ("node", "service")
        )
        made = call("PUT", "/v1/acl/policy", {"Name": "dns", "Rules": rules})
        call("PUT", token, {"AccessorID": ANYBODY, "Policies": [{"Name": "dns"}]})
        try:
            yield
        finally:
            call("PUT", token, {"AccessorID": ANYBODY, "Policies": []})
            call("DELETE", f"/v1/acl/policy/{made['ID']}")

    def proxies(self, node: str) -> list[dict[str, Any]]:
        """Return what is registered on a node and is no plain service."""
        found = self.servers.call("GET", f"/v1/catalog/node-services/{node}")
        services = (found or {}).get("Services") or []
        return [each for each in services if each.get("Kind")]

    def _secret(self) -> Object:
        metadata = {"name": CA_SECRET, "namespace": NAMESPACE}
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        return {**made, "stringData": {"tls.crt": self._authority.pem}}


def service_account(name: str, namespace: str = "default") -> Object:
    """Describe a service account."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def service_account_token(
    cluster: Cluster, name: str, namespace: str = "default", seconds: int = 86400
) -> str:
    """Have a token of a service account made, for the API server."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    made = cluster.api.create(path, {"spec": {"expirationSeconds": seconds}})
    return str(made["status"]["token"])


def _namespace() -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _reviewer() -> Sequence[Object]:
    account = {"kind": "ServiceAccount", "name": REVIEWER, "namespace": "default"}
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]}]
    api, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"

    def binding(name: str, role: str) -> Object:
        of = {"apiGroup": group, "kind": "ClusterRole", "name": role}
        metadata = {"name": name}
        made = {"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata}
        return {**made, "roleRef": of, "subjects": [account]}

    reads = {"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": REVIEWER}}
    return [
        service_account(REVIEWER),
        {**reads, "rules": rules},
        binding(f"{REVIEWER}-reads", REVIEWER),
        binding(f"{REVIEWER}-reviews", "system:auth-delegator"),
    ]
