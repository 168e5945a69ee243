"""The seams to Consul: its servers, their health, its ACL system."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from consul_ebpf.model.lifetime import Lifetime
from consul_ebpf.model.values import Login, Server


class ServerSource(Protocol):
    """Lists the Consul servers."""

    def watch(self) -> AsyncIterator[tuple[Server, ...]]:
        """Yield the whole list as soon as it is known, and after each change, for ever.

        A source retries after errors, with back-off, and yields only real answers. It
        may yield an empty one: the pool then keeps the servers it has.
        """
        ...


@runtime_checkable
class Rechecks(Protocol):
    """What a `ServerSource` may offer besides, if it keeps an answer for some time."""

    def look_again(self) -> None:
        """Ask again soon, because none of the listed servers answers.

        A name may have new addresses by now. The pool calls this again and again while
        no server answers, so the source must limit how often it really asks.
        """
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """A probe's result: whether the server is alive, and what was seen, for the log."""

    alive: bool
    reason: str
    leader: bool | None = None
    """Whether the server is the cluster's leader or knows it; None: it does not say."""
    sure: bool = False
    """Whether this one failure is enough to make the server failing."""


class HealthProbe(Protocol):
    """Checks whether a service of a server answers: gRPC or DNS."""

    async def check(self, server: Server) -> Health:
        """Probe once, within the probe's own deadline. A dead server is no error."""
        ...

    async def aclose(self) -> None:
        """Close the connections to servers."""
        ...


class Acl(Protocol):
    """The parts of Consul's ACL system that login tokens need."""

    async def login(self, how: Login) -> str:
        """Log in; return the new token's secret.

        Raises:
            ConsulError: the login was refused, no server answered, or the file of the
                bearer token cannot be read.
        """
        ...

    async def lifetime(self, secret: str, how: Login) -> Lifetime:
        """Return how long a token lives from when it was made.

        `FOREVER`: it never expires. `UNKNOWN`: nobody can be asked. It is a duration,
        so that Consul's clock and this host's may differ.
        """
        ...

    async def logout(self, secret: str, how: Login) -> None:
        """Destroy a login's token. One that no longer exists raises no error.

        Raises:
            ConsulError: no server answered.
        """
        ...

    async def refused(self, secret: str) -> bool:
        """Whether all servers that answer refuse the token; False if none answers."""
        ...

    async def accepted(self, secret: str) -> bool:
        """Whether no server that answers refuses the token."""
        ...
