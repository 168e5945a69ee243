"""Several workload sources as one."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.names import unique
from consul_ebpf.model.seams import WorkloadSource
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.following import newest_of

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds. Long enough for a source that asks somebody, short enough that proxies
written in a file do not wait for a Consul that is down."""


class MergedWorkloads:
    """A `WorkloadSource` of others' proxies together.

    Of proxies with the same id the one of the first source is taken; the others are
    logged, with both owners. A source's error ends the watch with that error.
    """

    def __init__(
        self, sources: Sequence[WorkloadSource], *, patience: float = PATIENCE
    ) -> None:
        """Merge `sources`, the first one's proxies first.

        `patience`: seconds to wait for every source's first list before going on
        with those that have one.
        """
        self._sources = tuple(sources)
        self._patience = patience

    def __repr__(self) -> str:
        return f"<MergedWorkloads {list(self._sources)!r}>"

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield all proxies at once and again after each change, for ever."""
        streams = {
            f"workload source {number} {source!r}": source.watch()
            for number, source in enumerate(self._sources, 1)
        }
        duplicates = Reasons(logger, "proxy_refused")
        last: tuple[Proxy, ...] | None = None
        async with aclosing(newest_of(streams, patience=self._patience)) as newest:
            async for values in newest:
                proxies, refused = unique(
                    proxy for value in values.values() for proxy in value
                )
                duplicates.report(why for _, why in refused)
                if proxies != last:
                    last = proxies
                    yield proxies
