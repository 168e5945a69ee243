"""Kubernetes' API server, asked over HTTPS as a pod's ServiceAccount."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from consul_ebpf.kubernetes.certificates.api_server import MAX_BODY, ApiServer
from consul_ebpf.kubernetes.certificates.cluster import Secret
from consul_ebpf.model.errors import ClusterError, ConfigError
from tests.lab.api_server import Objects, api_server, refusal

PRIVATE = "c2VjcmV0"


async def refused(response: web.Response, directory: Path) -> ClusterError:
    """Write a Secret to a server that always answers so; return the error."""

    async def answer(_: web.Request) -> web.Response:
        return response

    async with api_server(answer, directory) as cluster:
        with pytest.raises(ClusterError) as caught:
            await cluster.replace_secret("ours", Secret({"key": b"secret"}, {}))
    assert "\n" not in str(caught.value)
    assert PRIVATE not in str(caught.value)
    assert "the-token" not in str(caught.value)
    return caught.value


async def test_the_rest_of_a_secret_stays(tmp_path: Path) -> None:
    """Its labels and its type go back as they came."""
    held = Objects()
    held.put_secret("ours", {"other": b"kept"})
    async with api_server(held.answer, tmp_path) as cluster:
        found = await cluster.get_secret("ours")
        data = {**found.data, "key": b"secret"}
        await cluster.replace_secret("ours", Secret(data, found.rest))
    (body,) = held.by_path.values()
    assert body["metadata"]["labels"] == {"app": "consul-ebpf"}
    assert body["type"] == "Opaque"
    assert held.secret("ours") == {"other": b"kept", "key": b"secret"}
    assert "secret" not in repr(found)


async def test_a_new_token_is_used_at_once(tmp_path: Path) -> None:
    """Kubelet replaces the file each hour; it is read again at each call."""
    held = Objects()
    held.put_secret("ours", {})
    async with api_server(held.answer, tmp_path) as cluster:
        await cluster.get_secret("ours")
        (tmp_path / "new").write_text("the-second")
        (tmp_path / "new").replace(tmp_path / "token")
        await cluster.get_secret("ours")
    sent = [each.headers["Authorization"] for each in held.requests]
    assert sent == ["Bearer the-token", "Bearer the-second"]


async def test_a_refusal_is_one_line_of_its_own_words(tmp_path: Path) -> None:
    """With the status; but what was sent is never repeated."""
    forbidden = refusal(403, "Forbidden", 'secrets "ours" is forbidden\n for x')
    error = await refused(forbidden, tmp_path)
    assert error.status == 403
    assert 'HTTP 403: secrets "ours" is forbidden for x' in str(error)
    quoting = refusal(422, "Invalid", f"Invalid value: {PRIVATE}")
    assert "HTTP 422: Invalid" in str(await refused(quoting, tmp_path))


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (lambda: web.Response(body=b"x" * (MAX_BODY + 1)), "an answer of over 4 MiB"),
        (lambda: web.Response(body=b"[" * 100_000), "not the object asked for"),
        (lambda: web.Response(body=b"\xff{"), "not the object asked for"),
        (lambda: web.Response(status=500, body=b"<html>"), "HTTP 500: no reason given"),
        (
            lambda: web.Response(status=302, headers={"Location": "http://x"}),
            "HTTP 302",
        ),
    ],
)
async def test_an_answer_may_be_anything(
    response: Callable[[], web.Response], why: str, tmp_path: Path
) -> None:
    """Too large, too deep, no JSON, a proxy's page, a redirect: an error of ours."""
    assert why in str(await refused(response(), tmp_path))


@pytest.mark.parametrize(
    "body",
    [{}, {"metadata": {}}, {"metadata": {"resourceVersion": "1"}, "data": {"a": "%"}}],
)
async def test_an_object_may_be_anything(body: object, tmp_path: Path) -> None:
    """A Secret without metadata, or with data that is no base64, is an error."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    async with api_server(answer, tmp_path) as cluster:
        with pytest.raises(ClusterError, match="not the object asked for"):
            await cluster.get_secret("ours")


async def test_another_servers_certificate_is_refused(tmp_path: Path) -> None:
    """No token is sent to whom the CA did not sign for."""
    held = Objects()
    async with api_server(held.answer, tmp_path, ("10.9.9.9",)) as cluster:
        with pytest.raises(
            ClusterError, match=r"its certificate: .*IP address mismatch"
        ):
            await cluster.get_secret("ours")
    assert held.requests == []


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """An error that a later call may not meet, also where a file is away."""
    held = Objects()
    async with api_server(held.answer, tmp_path) as cluster:
        pass
    with pytest.raises(ClusterError, match="cannot connect: "):
        await cluster.get_secret("ours")
    (tmp_path / "token").unlink()
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(ClusterError, match=r"https://127.0.0.1:\d+: .*No such file"):
        await ApiServer(
            "https://127.0.0.1:1",
            namespace="x",
            token_file=tmp_path / "token",
            ca_certs=tmp_path / "ca.crt",
        ).get_secret("ours")


@pytest.mark.looptime
async def test_a_server_that_never_answers(tmp_path: Path) -> None:
    """Meets the deadline."""

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async with api_server(hang, tmp_path) as cluster:
        with pytest.raises(ClusterError, match="no answer within 10 s"):
            await cluster.get_secret("ours")


def test_outside_a_cluster(tmp_path: Path) -> None:
    """Says what is not there, and what to do."""
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST"):
        ApiServer.in_cluster({}, tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        ApiServer.in_cluster(environ, tmp_path)
    (tmp_path / "namespace").write_text("consul\n")
    cluster = ApiServer.in_cluster(environ, tmp_path)
    assert repr(cluster) == "<ApiServer https://[::1]:443>"
    assert cluster.namespace == "consul"
