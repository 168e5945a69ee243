"""A stand-in for consul-k8s's webhook, in this process."""

import base64
import json
import ssl
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.lab.certificates import Authority
from tests.lab.held import Held
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.hooks import pods_webhook
from tests.lab.kubernetes.injected import Settings, patch, wanted
from tests.lab.scratch import scratch_directory

NAME = "consul-connect-injector"

Operations = list[dict[str, Any]]


class Injector(Held):
    """Does what consul-k8s's does for pods that are made, and has its name."""

    def __init__(
        self, cluster: Cluster, settings: Settings | None = None, name: str = NAME
    ) -> None:
        """Prepare; `name` says where in the order of webhooks it comes."""
        self._cluster = cluster
        self._name = name
        self.settings = settings or Settings()
        """May be replaced; what is made afterwards has it."""

    def hold(self, stack: ExitStack) -> None:
        """Serve, and have the API server ask."""
        authority = Authority(lifetime=timedelta(days=2))
        issued = authority.issue(("127.0.0.1",))
        directory = stack.enter_context(scratch_directory())
        (directory / "cert.pem").write_text(issued.cert + issued.key)
        server = _server(self, directory / "cert.pem")
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        stack.callback(serving.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        url = f"https://127.0.0.1:{server.server_address[1]}/mutate"
        self._cluster.apply(self._configuration(url, authority.pem))
        stack.callback(self._remove)

    def operations(self, pod: Object) -> Operations:
        """Return what is to be changed of a pod."""
        return patch(pod, self.settings) if wanted(pod) else []

    def review(self, body: bytes) -> dict[str, Any]:
        """Answer an AdmissionReview."""
        review = json.loads(body)
        request = review["request"]
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        if operations := self.operations(request["object"]):
            encoded = json.dumps(operations).encode()
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(encoded).decode()
        return {
            "apiVersion": review["apiVersion"],
            "kind": review["kind"],
            "response": response,
        }

    def _configuration(self, url: str, ca: str) -> dict[str, Any]:
        excluded = ["kube-system", "local-path-storage", "openshift-monitoring"]
        return injectors_webhook(self._name, url, ca, excluded)

    def _remove(self) -> None:
        self._cluster.kubectl(
            "delete", "mutatingwebhookconfiguration", self._name, "--ignore-not-found"
        )


def injectors_webhook(name: str, url: str, ca: str, excluded: Sequence[str]) -> Object:
    """Describe consul-k8s's webhook, which pods of the `excluded` namespaces skip."""
    expression = {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": list(excluded),
    }
    return pods_webhook(
        name,
        f"{name}.consul.hashicorp.com",
        url,
        ca,
        expression,
        ("v1beta1", "v1"),
        failurePolicy="Fail",
    )


def _server(injector: Injector, certificate: Path) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the standard library's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(injector.review(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server
