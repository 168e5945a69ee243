"""A workload source that a test controls."""

from collections.abc import AsyncIterator, Iterable

from consul_ebpf.base.latest import Latest
from consul_ebpf.model.values import Proxy


class FakeWorkloads:
    """A `WorkloadSource` whose list a test sets."""

    def __init__(self, proxies: Iterable[Proxy] | None = ()) -> None:
        """Start with `proxies`; None: yield nothing until `set` is called."""
        self._cell: Latest[tuple[Proxy, ...]] = Latest()
        if proxies is not None:
            self.set(proxies)

    def __repr__(self) -> str:
        return "<FakeWorkloads>"

    def set(self, proxies: Iterable[Proxy]) -> None:
        """Make this the list; it may be empty."""
        self._cell.set(tuple(proxies))

    def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever."""
        return self._cell.changes()
