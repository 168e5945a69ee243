"""How the API server is told to ask a webhook about each pod that is made."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from tests.lab.kubernetes.api import Object


def pods_webhook(
    name: str,
    webhook: str,
    url: str,
    ca: str,
    namespaces: Mapping[str, Any],
    versions: Sequence[str] = ("v1",),
    **fields: Any,
) -> Object:
    """Return a MutatingWebhookConfiguration with one webhook.

    Args:
        name: of the configuration; it says where in the order it comes.
        webhook: the webhook's own name.
        url: where it answers.
        ca: PEM, who signed its certificate.
        namespaces: an expression that selects those of its pods.
        versions: of the questions that it understands.
        fields: more of the webhook's fields.
    """
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    bundle = base64.b64encode(ca.encode()).decode()
    asked = {
        "name": webhook,
        "clientConfig": {"url": url, "caBundle": bundle},
        "rules": [rule],
        "admissionReviewVersions": list(versions),
        "sideEffects": "None",
        "namespaceSelector": {"matchExpressions": [namespaces]},
        **fields,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [asked],
    }
