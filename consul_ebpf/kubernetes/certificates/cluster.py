"""What the webhook's certificates need of a Kubernetes cluster: four calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret's data, and the rest of the object, which goes back as it came."""

    data: Mapping[str, bytes] = field(repr=False)
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a MutatingWebhookConfiguration says of its webhooks' certificates."""

    version: str
    """Its `resourceVersion`."""
    bundles: Mapping[str, bytes]
    """Each webhook's `caBundle`, PEM, by the webhook's name; empty where it has none,
    or none that can be decoded."""


class Cluster(Protocol):
    """A Kubernetes cluster, as far as the webhook looks at it and changes it.

    Each call may raise `ClusterError`, with `status` 404 where there is no such object.
    """

    async def get_secret(self, name: str) -> Secret:
        """Read a Secret of this namespace."""
        ...

    async def replace_secret(self, name: str, secret: Secret) -> None:
        """Write a Secret that was read before, with other data.

        Raises:
            ConflictError: it was changed since then.
        """
        ...

    async def get_configuration(self, name: str) -> Configuration:
        """Read a MutatingWebhookConfiguration."""
        ...

    async def patch_bundles(
        self, name: str, version: str, bundles: Mapping[str, bytes]
    ) -> None:
        """Set the `caBundle` of these webhooks, and nothing else.

        Raises:
            ConflictError: the configuration is no longer the one of that version.
        """
        ...
