"""The seams of the proxies: which there are, and the bootstraps of their Envoys."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

from consul_ebpf.model.values import BootstrapParams, PlacedProxy, Proxy


class WorkloadSource(Protocol):
    """Lists the proxies of this host."""

    def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list once it is known, and after each change, for ever."""
        ...


@runtime_checkable
class Lacks(Protocol):
    """What a `WorkloadSource` may offer besides: what it does not know now."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """One line for each thing that it does not know now; empty: the list is whole.

        While there is a line, there may be proxies that it does not list, and nothing
        of theirs is removed.
        """
        ...


class BootstrapRenderer(Protocol):
    """Makes Envoy bootstraps. Pure: same input, same output, no I/O."""

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        """Return the bootstrap as JSON-ready data.

        `params` is what Consul says of it; None: Consul was not asked, or cannot say.

        Raises:
            InvalidProxyError: a value of the proxy must not stand in a bootstrap.
        """
        ...


@runtime_checkable
class Noting(Protocol):
    """What a `BootstrapRenderer` may offer besides: what it leaves out, and why."""

    def notes(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> tuple[str, ...]:
        """Return one line for each value that `render` leaves out of this bootstrap."""
        ...
