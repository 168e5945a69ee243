"""Equal parts of what Consul says of proxies, kept once for all of them.

Most proxies of a host have the same central configuration, which may have kilobytes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from consul_ebpf.model.values import BootstrapParams, Proxy

MOST = 1024
"""Different ones that are kept; beyond that, it begins anew."""

_ENCODER = msgspec.json.Encoder(order="sorted")


class SharedParams:
    """Remembers configurations and names that were seen, to use them again."""

    def __init__(self) -> None:
        self._configs: dict[bytes, tuple[Mapping[str, Any], tuple[str, ...]]] = {}
        self._names: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<SharedParams {len(self._configs)} configurations>"

    def share(self, proxy: Proxy, params: BootstrapParams) -> BootstrapParams:
        """Return equal parameters, of parts that other proxies have, too."""
        config, logs = self._shared_config(params)
        return replace(
            params,
            identity=(
                proxy.id
                if params.identity == proxy.id
                else self._shared_name(params.identity)
            ),
            namespace=self._shared_name(params.namespace),
            partition=self._shared_name(params.partition),
            datacenter=self._shared_name(params.datacenter),
            node_name=self._shared_name(params.node_name),
            config=config,
            access_logs=logs,
        )

    def _shared_config(
        self, params: BootstrapParams
    ) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        ours = params.config, params.access_logs
        try:
            text = _ENCODER.encode(ours)
        except (TypeError, ValueError, RecursionError):  # the renderer will say so
            return ours
        if len(self._configs) >= MOST:
            self._configs.clear()
        shared = self._configs.setdefault(text, ours)
        return shared if shared == ours else ours  # NaN is encoded as null is

    def _shared_name(self, name: str) -> str:
        if len(self._names) >= MOST:
            self._names.clear()
        return self._names.setdefault(name, name)
