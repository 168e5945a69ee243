"""The seams. Implement one of these to put your own part in the place of ours.

Nothing here does I/O. The parts shipped with the project implement them in
`servers/`, `proxies/`, `kernel/` and `envoy/`; in-memory ones for tests are in
`consul_ebpf.testing`.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from consul_ebpf.model.lifetime import Lifetime
from consul_ebpf.model.values import (
    BootstrapParams,
    KernelState,
    Login,
    PlacedProxy,
    Proxy,
    Server,
    Table,
    Vip,
)


class ServerSource(Protocol):
    """Says which Consul servers there are."""

    def watch(self) -> AsyncIterator[tuple[Server, ...]]:
        """Yield the whole list at once and again after each change, for ever.

        A source retries its own errors with back-off and yields only answers it
        got. An empty answer may be yielded: the pool knows what to make of it.
        """
        ...


@runtime_checkable
class Rechecks(Protocol):
    """What a `ServerSource` may offer besides, if it keeps answers for a while."""

    def look_again(self) -> None:
        """Hear that none of its servers answers; called again while that is so.

        A name may lead elsewhere by now. The source sees to it that it does not ask
        more often than is good.
        """
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """A probe's verdict: `alive`, and in `reason` what was seen, for the log."""

    alive: bool
    reason: str
    leader: bool | None = None
    """Whether the server knows the cluster's leader, or is it; None: not known."""
    sure: bool = False
    """Not alive beyond doubt: once is as good as several failures in a row."""


class HealthProbe(Protocol):
    """Says whether a service of a server answers: its gRPC port, or its DNS."""

    async def check(self, server: Server) -> Health:
        """Probe once, within a deadline of its own; a dead server is no error."""
        ...

    async def aclose(self) -> None:
        """Close what is kept open to servers."""
        ...


class WorkloadSource(Protocol):
    """Says which proxies this host has."""

    def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever."""
        ...


@runtime_checkable
class Lacks(Protocol):
    """What a `WorkloadSource` may offer besides: what it cannot tell now."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """One line for each thing that it cannot tell now; empty: it told everything.

        While there is a line, proxies that it does not name may still exist: nothing
        of theirs is removed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """How many entries of each kind `MapBackend.apply` wrote."""

    servers: int = 0
    vips_put: int = 0
    vips_removed: int = 0

    def __bool__(self) -> bool:
        """Whether anything was written."""
        return bool(self.servers or self.vips_put or self.vips_removed)


class MapBackend(Protocol):
    """Holds the two tables. Blocking; one caller at a time, and `read` beside it."""

    @property
    def capacity(self) -> int:
        """How many VIPs fit."""
        ...

    def apply(self, table: Table) -> Applied:
        """Make the tables equal `table`, writing only what differs.

        At every moment in between a reader sees, for each VIP, the old entry or
        the new one. Counters and cursors of what stays are kept.

        Raises:
            TableFullError: more VIPs than `capacity`; nothing was written.
            KernelError: the kernel refused a write; say `apply` again to converge.
        """
        ...

    def read(self) -> KernelState:
        """Read both tables and their counters.

        May be called while another call is under way; then what that writes may be
        in the answer or not.
        """
        ...

    def stay(self, vips: Iterable[Vip]) -> None:
        """Make the next connect of each VIP go where its last one went.

        For a connection that is to be made anew though its server is well.

        Raises:
            KernelError: the kernel refused a write; it then goes to the next server.
        """
        ...

    def mend(self) -> tuple[str, ...]:
        """Look whether all is still in place, and put it back where it is not.

        Called every other second; cheap when nothing is wrong.

        Returns:
            One line for each thing that was found missing and is back.

        Raises:
            KernelError: something is missing and cannot be put back now; the line
                says what and why. Call again.
        """
        ...

    def close(self) -> None:
        """Let go of the tables; what they redirect goes on."""
        ...


@dataclass(frozen=True, slots=True)
class Doomed:
    """A socket to destroy: it went through a VIP to a server that is dead."""

    cookie: int
    """The socket's, unique on this host."""
    server: Server
    """Where it leads: a socket with this cookie and another peer is left alone."""


class Namespaces(Protocol):
    """Reaches into the network namespaces of the host's proxies. Blocking."""

    def cookie(self, path: str) -> int:
        """Return the cookie of the network namespace at `path`.

        Raises:
            KernelError: there is none now (its process may still be starting).
            UnsupportedError: a privilege, or the kernel's SO_NETNS_COOKIE (5.14), is
                missing.
        """
        ...

    def established(self) -> frozenset[int]:
        """Return the cookies of all established TCP connections.

        Those of namespaces that may not be entered are left out.

        Raises:
            KernelError: it failed, and may succeed later.
        """
        ...

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        """Destroy these sockets wherever they are; return how many there were.

        At most as fast as the implementation's pace, so that their owners do not
        all reconnect at the same moment.

        Raises:
            UnsupportedError: a privilege, or the kernel's SOCK_DESTROY, is missing;
                Envoy's keepalive has to do it.
            KernelError: it failed, and may succeed later.
        """
        ...

    def close(self) -> None:
        """End what helps with this."""
        ...


class BootstrapRenderer(Protocol):
    """Makes an Envoy bootstrap. Pure: same input, same output, no I/O."""

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        """Return the bootstrap as JSON-ready data.

        `params` is what Consul says of it; None: not asked for, or not supported.

        Raises:
            InvalidProxyError: the proxy holds what no bootstrap may hold.
        """
        ...


@runtime_checkable
class Noting(Protocol):
    """What a `BootstrapRenderer` may offer besides: what it left out, and why."""

    def notes(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> tuple[str, ...]:
        """Return one line for each value that `render` leaves out of this bootstrap."""
        ...


class Acl(Protocol):
    """Consul's ACL system, as far as tokens of logins need it."""

    async def login(self, how: Login) -> str:
        """Log in; return the new token's secret.

        Raises:
            ConsulError: it was refused, nobody answered, or the bearer token's file
                cannot be read.
        """
        ...

    async def lifetime(self, secret: str, how: Login) -> Lifetime:
        """Return how long a token lives from when it was made.

        `FOREVER` where it never expires, `UNKNOWN` where nobody can be asked. Consul's
        clock and ours need not agree.
        """
        ...

    async def logout(self, secret: str, how: Login) -> None:
        """Destroy a login's token; one that is gone already is no error.

        Raises:
            ConsulError: nobody answered.
        """
        ...

    async def refused(self, secret: str) -> bool:
        """Whether every server that answers refuses the token; False if none does."""
        ...

    async def accepted(self, secret: str) -> bool:
        """Whether no server that answers refuses the token."""
        ...
