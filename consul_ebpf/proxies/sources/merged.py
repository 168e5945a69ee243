"""Several workload sources as one."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.seams import Lacks, WorkloadSource
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.following import newest_of
from consul_ebpf.proxies.sources.precedence import chosen

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds. Long enough for a source that asks somebody, short enough that proxies
written in a file do not wait for a Consul that is down."""


class MergedWorkloads:
    """A `WorkloadSource` of others' proxies together; has the seam `Lacks`.

    Of proxies with the same id one is taken, by the rules of `precedence`; the others
    are logged, with both owners. A source that fails keeps its last list and is begun
    again.
    """

    def __init__(
        self, sources: Sequence[WorkloadSource], *, patience: float = PATIENCE
    ) -> None:
        """Merge `sources`, in the order in which they are preferred.

        `patience`: seconds to wait for every source's first list before going on
        with those that have one.
        """
        self._sources = {
            f"workload source {number} {source!r}": source
            for number, source in enumerate(sources, 1)
        }
        self._patience = patience
        self._answered: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<MergedWorkloads {list(self._sources.values())!r}>"

    @property
    def lacking(self) -> tuple[str, ...]:
        """All that the sources cannot tell now, silent ones among them."""
        lines: list[str] = []
        for name, source in self._sources.items():
            own = source.lacking if isinstance(source, Lacks) else ()
            if not own and name not in self._answered:
                own = (f"{name} has not answered yet",)
            lines += own
        return tuple(lines)

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield all proxies at once and again after each change, for ever.

        A change of what is lacking is one, too.
        """
        streams = {name: source.watch for name, source in self._sources.items()}
        duplicates = Reasons(logger, "proxy_refused")
        last: tuple[tuple[Proxy, ...], tuple[str, ...]] | None = None
        async with aclosing(newest_of(streams, patience=self._patience)) as newest:
            async for values in newest:
                self._answered = frozenset(values)
                proxies, refused = chosen(
                    proxy for value in values.values() for proxy in value
                )
                duplicates.report(why for _, why in refused)
                now = proxies, self.lacking
                if now != last:
                    last = now
                    yield proxies
