"""The seams to the kernel: its tables, and the network namespaces of the host."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from consul_ebpf.model.values import KernelState, Server, Table, Vip


@dataclass(frozen=True, slots=True)
class Applied:
    """How many entries of each kind `MapBackend.apply` has written."""

    servers: int = 0
    vips_put: int = 0
    vips_removed: int = 0

    def __bool__(self) -> bool:
        """Whether anything was written."""
        return bool(self.servers or self.vips_put or self.vips_removed)

    def __add__(self, other: "Applied") -> "Applied":
        """Return what both have written."""
        return Applied(
            self.servers + other.servers,
            self.vips_put + other.vips_put,
            self.vips_removed + other.vips_removed,
        )


class MapBackend(Protocol):
    """Holds the tables of servers and of VIPs.

    Its methods block. One thread may call it at a time; only `read` may be called
    while another call is under way.
    """

    @property
    def capacity(self) -> int:
        """How many VIPs the table can hold."""
        ...

    def apply(self, table: Table, among: Collection[Vip] | None = None) -> Applied:
        """Make the tables equal `table`; write only what differs.

        `among` are the VIPs that may differ from the last table given, so that nobody
        compares the others; None: any may. At each moment a reader finds, for each VIP,
        the old entry or the new one. Entries that stay keep their counters and cursors.

        Raises:
            TableFullError: more VIPs than `capacity`; nothing was written.
            KernelError: the kernel refused a write; call `apply` again.
        """
        ...

    def read(self) -> KernelState:
        """Read both tables and their counters.

        It may be called while another call is under way; the answer then has what that
        call writes, or does not.
        """
        ...

    def stay(self, vips: Iterable[Vip]) -> None:
        """Make the next connect of each VIP go to the same server as its last one.

        This is for connections that are cut although their server is well.

        Raises:
            KernelError: the kernel refused a write, so connects go to the next server.
        """
        ...

    def mend(self) -> tuple[str, ...]:
        """Check that everything is still in place, and put back what is missing.

        It is called every two seconds, and is cheap while nothing is missing.

        Returns:
            One line for each thing that was missing and is back.

        Raises:
            KernelError: something is missing and cannot be put back now; the error says
                what and why. Call again.
        """
        ...

    def close(self) -> None:
        """Close the tables. The kernel goes on redirecting."""
        ...


@dataclass(frozen=True, slots=True)
class Doomed:
    """A socket to destroy: it is connected through a VIP to a dead server."""

    cookie: int
    """The socket's cookie, which no other socket of this host has."""
    server: Server
    """Its peer. A socket with this cookie and another peer is not destroyed."""


class Namespaces(Protocol):
    """Reaches into the network namespaces of the host's proxies. Its methods block."""

    def cookie(self, path: str) -> int:
        """Return the cookie of the network namespace at `path`.

        Raises:
            KernelError: there is none now; its process may still be starting.
            UnsupportedError: a privilege, or the kernel's SO_NETNS_COOKIE (5.14), is
                missing.
        """
        ...

    def established(self) -> frozenset[int]:
        """Return the cookies of all established TCP connections.

        Namespaces that this process may not enter are left out.

        Raises:
            KernelError: it failed, and may succeed later.
        """
        ...

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        """Destroy these sockets in all namespaces; return how many were found.

        The implementation limits the pace, so that their owners do not all reconnect at
        the same moment.

        Raises:
            UnsupportedError: a privilege, or the kernel's SOCK_DESTROY, is missing;
                then only Envoy's keepalive ends such connections.
            KernelError: it failed, and may succeed later.
        """
        ...

    def close(self) -> None:
        """End the processes or threads that help with this."""
        ...
