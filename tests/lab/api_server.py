"""A small HTTPS server that answers as Kubernetes' API server does."""

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from consul_ebpf.base.tls import TlsMaterial, load_chain
from consul_ebpf.kubernetes.certificates.api_server import ApiServer
from tests.lab.certificates import Authority

NAMESPACE = "consul"

Answer = Callable[[web.Request], Awaitable[web.Response]]


class Objects:
    """What the server holds, as the JSON of Kubernetes' own objects."""

    def __init__(self) -> None:
        self._version = 100
        self.by_path: dict[str, dict[str, Any]] = {}
        self.requests: list[web.Request] = []

    def put_secret(self, name: str, data: dict[str, bytes]) -> None:
        """Make or replace a Secret, with a label and a type of its own."""
        encoded = {key: base64.b64encode(each).decode() for key, each in data.items()}
        meta = {"name": name, "labels": {"app": "consul-ebpf"}}
        body = {"kind": "Secret", "type": "Opaque", "metadata": meta}
        self._put(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}", body)
        if encoded:  # an empty Secret has no such field
            body["data"] = encoded

    def put_configuration(self, name: str, bundles: dict[str, bytes]) -> None:
        """Make or replace a configuration with these webhooks."""
        webhooks = []
        for each, bundle in bundles.items():
            client = {"service": {"name": "x", "namespace": NAMESPACE}, "caBundle": ""}
            client["caBundle"] = base64.b64encode(bundle).decode()
            if not bundle:
                del client["caBundle"]
            webhooks.append(
                {"name": each, "clientConfig": client, "sideEffects": "None"}
            )
        body = {"metadata": {"name": name}, "webhooks": webhooks}
        self._put(_configuration_path(name), body)

    def secret(self, name: str) -> dict[str, bytes]:
        """Return a Secret's data."""
        body = self.by_path[f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}"]
        return {key: base64.b64decode(each) for key, each in body["data"].items()}

    def bundles(self, name: str) -> dict[str, bytes]:
        """Return a configuration's `caBundle`s."""
        return {
            each["name"]: base64.b64decode(each["clientConfig"].get("caBundle", ""))
            for each in self.by_path[_configuration_path(name)]["webhooks"]
        }

    async def answer(self, request: web.Request) -> web.Response:
        """Carry out one request."""
        self.requests.append(request)
        found = self.by_path.get(request.path)
        if found is None:
            return refusal(404, "NotFound", f"{request.path} not found")
        if request.method == "GET":
            return web.json_response(found)
        sent = await request.json()
        version = sent["metadata"]["resourceVersion"]
        if version != found["metadata"]["resourceVersion"]:
            return refusal(409, "Conflict", "the object has been modified")
        if request.method == "PUT":
            self._put(request.path, sent)
        else:
            assert request.content_type == "application/strategic-merge-patch+json"
            by_name = {each["name"]: each for each in found["webhooks"]}
            for each in sent["webhooks"]:
                by_name[each["name"]]["clientConfig"].update(each["clientConfig"])
            self._put(request.path, found)
        return web.json_response(self.by_path[request.path])

    def _put(self, path: str, body: dict[str, Any]) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.by_path[path] = body


def refusal(status: int, reason: str, message: str) -> web.Response:
    """Return a `Status`, as the API server refuses."""
    body = {"kind": "Status", "reason": reason, "message": message, "code": status}
    return web.json_response(body, status=status)


@asynccontextmanager
async def api_server(
    answer: Answer, directory: Path, names: tuple[str, ...] = ("127.0.0.1",)
) -> AsyncIterator[ApiServer]:
    """Serve; give what asks it, as a pod whose files are in `directory` would."""
    authority = Authority()
    issued = authority.issue(names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_chain(context, TlsMaterial(cert=issued.cert, key=issued.key), "of the test")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        (directory / "token").write_text("the-token")
        (directory / "ca.crt").write_text(authority.pem)
        (directory / "namespace").write_text(NAMESPACE)
        port = str(runner.addresses[0][1])
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
        environ["KUBERNETES_SERVICE_PORT"] = port
        yield ApiServer.in_cluster(environ, directory)
    finally:
        await runner.cleanup()


def _configuration_path(name: str) -> str:
    group = "/apis/admissionregistration.k8s.io/v1"
    return f"{group}/mutatingwebhookconfigurations/{name}"
