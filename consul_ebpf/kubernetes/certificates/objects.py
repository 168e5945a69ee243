"""The API server's objects, as JSON has them, and what is read of them. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from consul_ebpf.kubernetes.certificates.cluster import Configuration, Secret


class Status(msgspec.Struct):
    """What the API server says of a call that it refuses."""

    message: str = ""
    reason: str = ""


class _Metadata(msgspec.Struct):
    resourceVersion: str  # noqa: N815  # Kubernetes' own names


class _Secret(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, str] | None = None


class _ClientConfig(msgspec.Struct):
    caBundle: str | None = None  # noqa: N815


class _Webhook(msgspec.Struct):
    name: str
    clientConfig: _ClientConfig  # noqa: N815


class _Configuration(msgspec.Struct):
    metadata: _Metadata
    webhooks: list[_Webhook] | None = None


def secret_of(body: Mapping[str, Any]) -> Secret:
    """Return the Secret that an object is.

    Raises:
        msgspec.ValidationError: it is another object.
        ValueError: its data is no base64.
    """
    found = msgspec.convert(body, _Secret)
    data = {
        key: base64.b64decode(value, validate=True)
        for key, value in (found.data or {}).items()
    }
    return Secret(data, body)


def object_of(secret: Secret) -> dict[str, Any]:
    """Return the object that a Secret is."""
    data = {key: _encoded(value) for key, value in secret.data.items()}
    return {**secret.rest, "data": data}


def configuration_of(body: Mapping[str, Any]) -> Configuration:
    """Return what a MutatingWebhookConfiguration says.

    Raises:
        msgspec.ValidationError: it is another object.
    """
    found = msgspec.convert(body, _Configuration)
    bundles = {
        each.name: _decoded(each.clientConfig.caBundle) for each in found.webhooks or ()
    }
    return Configuration(found.metadata.resourceVersion, bundles)


def bundles_patch(version: str, bundles: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a strategic merge patch of that version: sets the `caBundle` of these."""
    webhooks = [
        {"name": each, "clientConfig": {"caBundle": _encoded(bundle)}}
        for each, bundle in bundles.items()
    ]
    return {"metadata": {"resourceVersion": version}, "webhooks": webhooks}


def status_of(data: bytes) -> Status:
    """Return the refusal that an answer is; an empty one: it is none."""
    try:
        return msgspec.json.decode(data, type=Status)
    except msgspec.DecodeError:
        return Status()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str | None) -> bytes:
    """Return what a text is the base64 of; nothing where it is none."""
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return b""
