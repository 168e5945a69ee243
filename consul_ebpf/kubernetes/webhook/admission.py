"""Answers the API server's question about each pod that is made.

Anybody in the cluster may ask: what is not understood is allowed and left as it is.
"""

import asyncio
import base64
import logging
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from consul_ebpf.base.boundary import reason
from consul_ebpf.base.events import event
from consul_ebpf.base.lines import one_line
from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.webhook.answers import Answer, Changed, Skipped
from consul_ebpf.kubernetes.webhook.inject import inject
from consul_ebpf.kubernetes.webhook.reasons import Reason
from consul_ebpf.kubernetes.webhook.rewrite import rewrite

logger = logging.getLogger(__name__)

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a question. The API server takes no object of more than 3 MiB."""

READ_SECONDS = 5.0
"""For a question to arrive; the API server itself waits no longer for the answer."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PATH = "/mutate"
VERSION = "admission.k8s.io/v1"


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    generate_name: str = ""


class _Named(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


class _Request(msgspec.Struct, frozen=True):
    uid: str
    kind: _Kind = _Kind()
    operation: str = ""
    namespace: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    request: _Request


UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises: it is no JSON, no text, too deep, or something else."""

_QUESTION = msgspec.json.Decoder(_Review)


class Admission:
    """Answers questions about pods, and counts what became of them.

    Args:
        config: says what pods get.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pods: Counter[tuple[str, str]] = Counter()
        self._malformed = 0
        self._failures: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Admission {self._pods.total()} pods>"

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [
            web.post(PATH, self.review),
            web.get("/healthz", self.health),
            web.get("/metrics", self.metrics),
        ]

    @web.middleware
    async def guarded(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Answer every error with one line; no request ends more than itself."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            return self._refuse(error.status, error.reason)
        except ConnectionError:
            raise  # the client has gone
        except Exception as error:  # noqa: BLE001  # nobody foresaw it
            return self._failed(error)

    async def review(self, request: web.Request) -> web.Response:
        """Answer an AdmissionReview; 400 if it is none."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await request.read()
        except TimeoutError:
            return self._refuse(408, "the question did not arrive in time")
        try:
            question = _QUESTION.decode(body)
        except UNREADABLE as error:
            return self._refuse(400, f"not an AdmissionReview: {error}")
        if question.api_version != VERSION:
            return self._refuse(400, f"not an AdmissionReview of {VERSION}")
        return self._answer(question.request)

    async def health(self, _: web.Request) -> web.Response:
        """Answer a probe."""
        return web.Response(text="ok\n")

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer Prometheus."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Counts(dict(self._pods), self._malformed))
        body, type_ = generate_latest(registry), CONTENT_TYPE_LATEST
        return web.Response(body=body, headers={"Content-Type": type_})

    def _answer(self, request: _Request) -> web.Response:
        response: dict[str, object] = {"uid": request.uid, "allowed": True}
        if request.kind.kind == "Pod" and request.operation == "CREATE":
            try:
                pod = msgspec.json.decode(request.object)
                answer = answer_for(pod, self._config)
            except UNREADABLE as error:
                self._malformed += 1
                warning = f"consul-ebpf: not a pod: {one_line(error, 200)}"
                response["warnings"] = [warning]
            else:
                self._note(request, answer)
                if answer is not None and answer.patch:
                    patch = msgspec.json.encode(answer.patch)
                    response["patchType"] = "JSONPatch"
                    response["patch"] = base64.b64encode(patch).decode()
        review = {
            "apiVersion": VERSION,
            "kind": "AdmissionReview",
            "response": response,
        }
        return web.Response(
            body=msgspec.json.encode(review), content_type="application/json"
        )

    def _note(self, request: _Request, answer: Answer) -> None:
        """Count a pod, and log one that is skipped; nothing for one seen again."""
        match answer:
            case Changed(status=status):
                self._pods[status, ""] += 1
            case Skipped(why=why, reason=reason) if (
                answer.patch or reason is Reason.MALFORMED
            ):
                self._pods["skipped", reason.value] += 1
                pod = f"{request.namespace}/{_name_of(request.object)}"
                logger.info("pod %s is left as it is: %s", one_line(pod, 400), why)

    def _failed(self, error: Exception) -> web.Response:
        """Answer an unforeseen error; log it with its traceback the first time."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        which = f"{type(error).__name__} {place.filename}:{place.lineno}"
        again, self._failures = which in self._failures, self._failures | {which}
        logger.log(
            logging.DEBUG if again else logging.ERROR,
            "the webhook: %s",
            reason(error),
            exc_info=None if again else error,
            extra=event("task_failed"),
        )
        return self._refuse(500, "the webhook failed; its log says how")

    def _refuse(self, status: int, why: str) -> web.Response:
        self._malformed += 1
        return web.Response(status=status, text=f"{one_line(why, 300)}\n")


def answer_for(pod: object, config: Config) -> Answer:
    """Return what becomes of a pod."""
    return rewrite(pod, config) or inject(pod, config)


class _Counts(Collector):
    """The webhook's metrics at one moment."""

    def __init__(self, pods: dict[tuple[str, str], int], malformed: int) -> None:
        self._pods = pods
        self._malformed = malformed

    def collect(self) -> list[CounterMetricFamily]:
        pods = CounterMetricFamily(
            "consul_ebpf_webhook_pods",
            "Pods by what became of them; a skipped one also by the kind of reason.",
            labels=["result", "reason"],
        )
        for labels, number in sorted(self._pods.items()):
            pods.add_metric(labels, number)
        malformed = CounterMetricFamily(
            "consul_ebpf_webhook_malformed",
            "Questions that were none of the API server's.",
            value=self._malformed,
        )
        return [pods, malformed]


def _name_of(data: msgspec.Raw) -> str:
    """Return a pod's name; one that is still to be given ends in a star."""
    try:
        metadata = msgspec.json.decode(data, type=_Named).metadata
    except UNREADABLE:
        return "?"
    return metadata.name or f"{metadata.generate_name}*"
