"""The webhook answers each question, whatever it is."""

import asyncio
import base64
import io
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.webhook.admission import MAX_BODY, PATH, Admission
from consul_ebpf.kubernetes.webhook.reasons import Reason
from tests.lab.consul_k8s.injection import application, injected
from tests.lab.consul_k8s.pieces import Mesh
from tests.lab.json_patch import applied

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def webhook() -> AsyncIterator[Client]:
    admission = Admission(Config())
    application = web.Application(
        client_max_size=MAX_BODY, middlewares=[admission.guarded]
    )
    application.add_routes(admission.routes())
    async with TestClient(TestServer(application)) as client:
        yield client


def question(pod: Any, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": "default",
            "object": pod,
            **more,
        },
    }


async def ask(client: Client, review: Any) -> dict[str, Any]:
    """Return the response to a question, which is allowed."""
    answer = await client.post(PATH, json=review)
    assert answer.status == 200, await answer.text()
    said = await answer.json()
    assert said["apiVersion"] == "admission.k8s.io/v1"
    assert said["kind"] == "AdmissionReview"
    response: dict[str, Any] = said["response"]
    assert response["uid"] == "705ab4f5"
    assert response["allowed"] is True
    return response


def operations(response: dict[str, Any]) -> list[dict[str, Any]]:
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    made: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"]))
    return made


async def metrics(client: Client) -> str:
    return await (await client.get("/metrics")).text()


async def test_a_pod_is_rewritten_once() -> None:
    """Asked again about what it made of it, it changes nothing, nor counts it."""
    async with webhook() as client:
        pod = injected(Mesh())
        done = applied(pod, operations(await ask(client, question(pod))))
        status = done["metadata"]["annotations"]["consul-ebpf.io/status"]
        assert status == "rewritten"
        assert operations(await ask(client, question(done))) == []
        said = await metrics(client)
    assert 'webhook_pods_total{reason="",result="rewritten"} 1.0' in said


async def test_either_order_of_the_webhooks() -> None:
    """Before consul-k8s's there is nothing to do; asked again behind it there is."""
    async with webhook() as client:
        assert operations(await ask(client, question(application()))) == []
        assert operations(await ask(client, question(injected(Mesh()))))


async def test_a_skipped_pod_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line, with the pod's name as far as it has one; counted by its reason."""
    caplog.set_level(logging.INFO, "consul_ebpf")
    async with webhook() as client:
        pod = injected(Mesh(merged=True))
        done = applied(pod, operations(await ask(client, question(pod))))
        assert operations(await ask(client, question(done))) == []
        said = await metrics(client)
    (line,) = caplog.messages
    assert line.startswith("pod default/web-6d4cf56db6-* is left as it is: ")
    assert line.endswith(": -telemetry-prom-merge-port: merged metrics")
    assert 'webhook_pods_total{reason="metrics",result="skipped"} 1.0' in said


def test_the_reasons_are_in_the_page() -> None:
    """All that the metric may have."""
    page = Path(__file__).parents[3] / "docs" / "kubernetes-options.md"
    row = next(
        line for line in page.read_text().splitlines() if "webhook_pods_total" in line
    )
    named = re.findall(r"`([a-z]+)`", row.partition("is the kind of it")[2])
    assert named == sorted(Reason)


@pytest.mark.parametrize(
    "more",
    [
        {"operation": "UPDATE"},
        {"kind": {"kind": "Deployment"}},
    ],
)
async def test_what_is_no_new_pod(more: dict[str, Any]) -> None:
    """It is allowed as it is."""
    async with webhook() as client:
        response = await ask(client, question(injected(Mesh()), **more))
    assert response == {"uid": "705ab4f5", "allowed": True}


BAD = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no request": b'{"apiVersion": "admission.k8s.io/v1"}',
    "no uid": b'{"apiVersion": "admission.k8s.io/v1", "request": {}}',
    "another version": b'{"apiVersion": "admission.k8s.io/v2", "request": {"uid": ""}}',
    "no text": b'{"apiVersion": "\xff"}',
    "deep": b"[" * 1_000_000,
    "a deep pod": json.dumps(question("POD"))
    .replace('"POD"', "[" * 500_000 + "]" * 500_000)
    .encode(),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_fault_k_what_is_no_question(body: bytes) -> None:
    """400, in one line; it is counted, and the next one is answered."""
    async with webhook() as client:
        answer = await client.post(PATH, data=io.BytesIO(body))
        assert answer.status == 400
        assert len((await answer.text()).splitlines()) == 1
        assert "webhook_malformed_total 1.0" in await metrics(client)
        await ask(client, question(application()))


@pytest.mark.parametrize("odd", [None, [], {"spec": {"containers": [{}]}}])
async def test_what_has_not_the_form_of_a_pod(odd: Any) -> None:
    """It is left as it is, and counted."""
    async with webhook() as client:
        assert "patch" not in await ask(client, question(odd))
        said = await metrics(client)
    assert 'webhook_pods_total{reason="malformed",result="skipped"} 1.0' in said


async def test_a_pod_that_cannot_be_read() -> None:
    """It is allowed, with a warning: whatever it is, the API server knows better."""
    body = json.dumps(question("POD")).replace('"POD"', "1e999").encode()
    async with webhook() as client:
        answer = await client.post(PATH, data=io.BytesIO(body))
        response = (await answer.json())["response"]
    assert response["allowed"] is True
    assert response["warnings"][0].startswith("consul-ebpf: not a pod:")


async def test_fault_k_a_large_question() -> None:
    """Refused, not read to its end."""
    async with webhook() as client:
        answer = await client.post(PATH, data=io.BytesIO(b" " * (MAX_BODY + 1)))
        assert answer.status == 413
        await ask(client, question(application()))


@pytest.mark.looptime
async def test_fault_k_a_question_that_does_not_arrive() -> None:
    """It is given up after some seconds."""

    class Slow:
        async def read(self) -> bytes:
            await asyncio.sleep(60)
            return b""

    answer = await Admission(Config()).review(Slow())  # type: ignore[arg-type]
    assert answer.status == 408


async def test_health_and_other_paths() -> None:
    """200 while it serves; elsewhere nothing is."""
    async with webhook() as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/other")).status == 404
        assert (await client.get(PATH)).status == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner)
    ),
)


@given(JSON, JSON)
def test_no_question_fails(odd: Any, pod: Any) -> None:
    """Whatever stands for the question or for the pod in it."""

    async def asked() -> None:
        async with webhook() as client:
            for body in (odd, question(pod), question({"spec": pod})):
                answer = await client.post(PATH, json=body)
                assert answer.status in {200, 400}

    asyncio.run(asked())
