"""A Kubernetes cluster in memory."""

from collections.abc import Mapping

from consul_ebpf.kubernetes.certificates.cluster import Configuration, Secret
from consul_ebpf.model.errors import ClusterError, ConflictError


class FakeCluster:
    """Holds the Secrets and webhook configurations that it is given."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, bytes]] = {}
        """Each Secret's data, by its name. A test may change it at any time."""
        self.configurations: dict[str, dict[str, bytes]] = {}
        """Each configuration's `caBundle`s, by its name and the webhook's."""
        self.trouble: ClusterError | None = None
        """Raised by each call, where it is set."""
        self.writes: list[str] = []
        """What was written, one line for each write that succeeded."""

    def __repr__(self) -> str:
        return f"<FakeCluster of {len(self.secrets)} Secrets>"

    async def get_secret(self, name: str) -> Secret:
        """Read a Secret."""
        data = dict(_found(self.secrets, name, self.trouble))
        return Secret(data, {"metadata": {"name": name}, "read": dict(data)})

    async def replace_secret(self, name: str, secret: Secret) -> None:
        """Write a Secret that was read before."""
        now = _found(self.secrets, name, self.trouble)
        if dict(now) != secret.rest.get("read"):
            raise ConflictError(f"Secret {name} was changed", status=409)
        self.secrets[name] = dict(secret.data)
        self.writes.append(f"Secret {name}")

    async def get_configuration(self, name: str) -> Configuration:
        """Read a configuration."""
        bundles = dict(_found(self.configurations, name, self.trouble))
        return Configuration(_version(bundles), bundles)

    async def patch_bundles(
        self, name: str, version: str, bundles: Mapping[str, bytes]
    ) -> None:
        """Set the `caBundle` of some webhooks."""
        now = _found(self.configurations, name, self.trouble)
        if _version(now) != version:
            raise ConflictError(f"configuration {name} was changed", status=409)
        self.configurations[name] = {**now, **bundles}
        self.writes.append(f"configuration {name}")


def _found(
    objects: Mapping[str, dict[str, bytes]], name: str, trouble: ClusterError | None
) -> dict[str, bytes]:
    if trouble is not None:
        raise trouble
    if name not in objects:
        raise ClusterError(f"no object {name}", status=404)
    return objects[name]


def _version(bundles: Mapping[str, bytes]) -> str:
    """Return a text that is another one whenever the bundles are."""
    return repr(sorted(bundles.items()))
