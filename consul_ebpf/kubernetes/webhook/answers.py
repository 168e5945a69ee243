"""What the webhook answers for a pod: a patch, with annotations that say why. Pure."""

from dataclasses import dataclass
from typing import Any

from consul_ebpf.base.version import installed_version
from consul_ebpf.kubernetes.webhook.json_patch import Operation, patch
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError

Json = dict[str, Any]

STATUS = "consul-ebpf.io/status"
VERSION = "consul-ebpf.io/version"


@dataclass(frozen=True, slots=True)
class Changed:
    """The pod gets an Envoy on a volume of ours."""

    status: str
    """What became of it, as its annotation says: rewritten, injected."""
    patch: list[Operation]


@dataclass(frozen=True, slots=True)
class Skipped:
    """The pod keeps what it has; the patch is only the annotation that says why."""

    why: str
    reason: Reason
    patch: list[Operation]
    """Empty: the pod says so already."""


Answer = Changed | Skipped | None
"""None: there is nothing to do, nor to say."""


def changed(before: Json, after: Json, status: str) -> Changed:
    """Return the answer for a pod that is changed."""
    return Changed(status, list(patch(before, _annotated(after, status))))


def skipped(data: object, error: SkipError) -> Skipped:
    """Return the answer for a pod that is left alone; its annotation says why."""
    why = str(error)
    if error.reason is Reason.MALFORMED or not isinstance(data, dict):
        return Skipped(why, error.reason, [])
    after = _annotated(data, f"skipped: {why}")
    return Skipped(why, error.reason, list(patch(data, after)))


def _annotated(pod: Json, status: str) -> Json:
    metadata = pod.get("metadata") or {}
    ours = {STATUS: status, VERSION: installed_version() or "source"}
    annotations = {**(metadata.get("annotations") or {}), **ours}
    return {**pod, "metadata": {**metadata, "annotations": annotations}}
