"""Proxies in the configuration file."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from consul_ebpf.config.proxies import to_proxies
from consul_ebpf.config.schema import NO_CREDENTIALS, Credentials, ProxyEntry
from consul_ebpf.model.values import Proxy


class StaticWorkloads:
    """A `WorkloadSource` of `[[proxies]]`."""

    def __init__(
        self,
        entries: Sequence[ProxyEntry],
        owner: str = "configuration",
        default: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Read the entries; `default` completes their own credentials.

        Raises:
            ConfigError: an entry is wrong.
        """
        self._proxies = to_proxies(entries, owner, default)

    def __repr__(self) -> str:
        return f"<StaticWorkloads {len(self._proxies)} proxies>"

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the list once: it never changes."""
        yield self._proxies
        await asyncio.Event().wait()
