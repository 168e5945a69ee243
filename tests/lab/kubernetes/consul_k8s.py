"""The real consul-k8s in the lab's cluster, where somebody has its binaries.

Its module cannot be had from a registry, so its parts are given by the environment:
what is built of its repository's `control-plane`, its chart's directory, and a
consul-dataplane.
"""

import os
import socket
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from subprocess import run

from tests.lab.certificates import Authority
from tests.lab.kubernetes.admission import NAME, injectors_webhook
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.consul import (
    GRPC_PORT,
    METHOD,
    NAMESPACE,
    SERVER_NAME,
    PodsConsul,
    service_account,
    service_account_token,
)
from tests.lab.kubernetes.files import CONSUL_ADDRESSES
from tests.lab.kubernetes.images import CONTROL_PLANE, DATAPLANE, real_consul_k8s
from tests.lab.kubernetes.mesh import PodsMesh, meshed
from tests.lab.parts import HELM, ensure
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import scratch_directory

VARIABLES = ("CONSUL_K8S_BIN", "CONSUL_K8S_CHART", "CONSUL_DATAPLANE_BIN")
PORT = 18080
HTTPS_PORT = 8501

_ACCOUNT = "/var/run/secrets/kubernetes.io"
# It takes its rights from where a pod has them, so it gets such a place of its own.
_AS_IN_A_POD = f"""
mkdir -p /var/run/secrets
mount -t tmpfs none /var/run/secrets
mkdir -p {_ACCOUNT}
ln -s "$1" {_ACCOUNT}/serviceaccount
shift
exec "$@"
"""


def missing() -> str:
    """Say which of its parts is not given; empty: all are."""
    return ", ".join(f"${name}" for name in VARIABLES if not os.environ.get(name))


class RealMesh(PodsMesh):
    """Pods are injected and registered by consul-k8s's own control plane."""

    def hold(self, stack: ExitStack) -> None:
        """Start all of it."""
        control_plane, chart, dataplane = (Path(os.environ[name]) for name in VARIABLES)
        images = real_consul_k8s(self._envoy, control_plane, dataplane)
        self.cluster = stack.enter_context(Cluster(images))
        self.pods = self.cluster.pods
        self.consul = stack.enter_context(PodsConsul(self._consul_bin, self.cluster))
        definitions = _definitions(chart)
        self.cluster.kubectl("apply", "--server-side", "-f", "-", given=definitions)
        self.cluster.apply(service_account("injector", NAMESPACE), _all_rights())
        directory = stack.enter_context(scratch_directory())
        authority = Authority(lifetime=timedelta(days=2))
        issued = authority.issue(("127.0.0.1",))
        (directory / "tls.crt").write_text(issued.cert)
        (directory / "tls.key").write_text(issued.key)
        (directory / "config.json").write_text("{}")
        environment = {
            **self.cluster.api_environment,
            "CONSUL_ACL_TOKEN": self.consul.servers.management_token,
            "CONSUL_API_TIMEOUT": "5s",
        }
        arguments = self._arguments(control_plane, directory)
        child = Child("consul-k8s", arguments, directory, env=environment)
        stack.callback(child.kill)

        def listens() -> bool:
            child.must_run()
            with socket.socket() as asking:
                return asking.connect_ex(("127.0.0.1", PORT)) == 0

        wait_until(listens, "consul-k8s's webhook")
        url = f"https://127.0.0.1:{PORT}/mutate"
        excluded = ["kube-system", NAMESPACE]
        self.cluster.apply(injectors_webhook(NAME, url, authority.pem, excluded))
        stack.callback(
            self.cluster.kubectl, "delete", "mutatingwebhookconfiguration", NAME
        )

    def add_service(self, name: str, **annotations: str) -> Object:
        """Make a pod and the Service that selects it; return the pod as admitted."""
        self.cluster.apply(service_account(name), _service(name))
        prefix = "consul.hashicorp.com/"
        told = {prefix + key.replace("_", "-"): v for key, v in annotations.items()}
        pod = meshed(name, annotations=told)
        pod["metadata"]["labels"] = {"app": name}
        return self.pods.create(pod)

    def _arguments(self, control_plane: Path, directory: Path) -> list[str]:
        """Return its command, as its chart has it."""
        options = {
            "config-file": directory / "config.json",
            "default-inject": "false",
            "consul-image": "none",
            "consul-dataplane-image": DATAPLANE,
            "consul-k8s-image": CONTROL_PLANE,
            "release-name": "consul",
            "release-namespace": NAMESPACE,
            "resource-prefix": "consul",
            "listen": f":{PORT}",
            "default-enable-transparent-proxy": "true",
            "enable-consul-dns": "true",
            "acl-auth-method": METHOD,
            "allow-k8s-namespace": "*",
            "tls-cert-dir": directory,
            "default-envoy-proxy-concurrency": 2,
            "default-enable-sidecar-proxy-lifecycle": "true",
            "default-sidecar-proxy-lifecycle-shutdown-grace-period-seconds": 2,
            "addresses": CONSUL_ADDRESSES[0],
            "grpc-port": GRPC_PORT,
            "http-port": HTTPS_PORT,
            "use-tls": "true",
            "ca-cert-file": self.consul.ca_file,
            "tls-server-name": SERVER_NAME,
        }
        flags = [f"-{name}={value}" for name, value in options.items()]
        shell = ["unshare", "-m", "sh", "-ec", _AS_IN_A_POD, "sh"]
        account = self._account(directory / "account")
        return [*shell, str(account), str(control_plane), "inject-connect", *flags]

    def _account(self, directory: Path) -> Path:
        directory.mkdir()
        token = service_account_token(self.cluster, "injector", NAMESPACE)
        (directory / "token").write_text(token)
        (directory / "ca.crt").write_text(self.cluster.credentials.ca)
        (directory / "namespace").write_text(NAMESPACE)
        return directory


def _definitions(chart: Path) -> str:
    """Return the chart's CustomResourceDefinitions: its controllers watch them."""
    helm = ensure(HELM)
    command = [str(helm), "template", "consul", str(chart), "--include-crds"]
    said = run(
        [*command, "--kube-version", "1.30.0", "--set", "connectInject.enabled=true"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kind = "\nkind: CustomResourceDefinition\n"
    return "\n---\n".join(each for each in said.split("\n---\n") if kind in each)


def _all_rights() -> Object:
    group = "rbac.authorization.k8s.io"
    account = {"kind": "ServiceAccount", "name": "injector", "namespace": NAMESPACE}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "injector"},
        "roleRef": role,
        "subjects": [account],
    }


def _service(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": name},
            "ports": [{"port": 8080}],
        },
    }
