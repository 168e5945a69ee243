"""Merges several workload sources into one."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.seams import Lacks, WorkloadSource
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.following import newest_of
from consul_ebpf.proxies.sources.precedence import chosen

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""Seconds to wait for a source that asks Consul. The proxies of other sources, such as
files, must not wait long for a Consul that is down."""


class MergedWorkloads:
    """A `WorkloadSource` of several sources' proxies; it has the seam `Lacks`.

    Of proxies with the same key one is used, by the rules of `precedence`; the others
    are logged, each with both owners. A source that fails keeps its last list, and is
    started again.
    """

    def __init__(
        self, sources: Sequence[WorkloadSource], *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Merge sources.

        Args:
            sources: in the order in which they are preferred.
            patience: seconds to wait for the first list of every source, before going
                on with those that have one.
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
        """The lines of all sources, and one for each that has not answered yet."""
        lines: list[str] = []
        for name, source in self._sources.items():
            own = source.lacking if isinstance(source, Lacks) else ()
            if not own and name not in self._answered:
                own = (f"{name} has not answered yet",)
            lines += own
        return tuple(lines)

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield all proxies at once and again after each change, for ever.

        A change of `lacking` counts as a change.
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
