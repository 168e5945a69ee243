"""Finds out at little cost which of the noted sockets are established."""

import time
from collections.abc import Callable, Iterable

from consul_ebpf.base.boundary import boundary
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import VipCounters

ASK_SECONDS = 1.0
"""From one question to the helper to the next."""


class EstablishedSockets:
    """Looks in the controller's own network namespace first: most Envoys are there.

    If a proxy has no connection there, its Envoy is in another namespace, or gone. Only
    then the helper is asked, which can look into all of them but forks to answer.

    Args:
        here: returns the cookies of established connections in this namespace.
            Blocking.
        everywhere: returns those in all namespaces. Blocking.
        clock: returns seconds.
    """

    def __init__(
        self,
        here: Callable[[], frozenset[int]],
        everywhere: Callable[[], frozenset[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._here = here
        self._everywhere = everywhere
        self._clock = clock
        self._elsewhere: frozenset[int] = frozenset()
        self._asked = float("-inf")

    def __repr__(self) -> str:
        return f"<EstablishedSockets {len(self._elsewhere)} elsewhere>"

    def __call__(self, rows: Iterable[VipCounters]) -> frozenset[int]:
        """Return the cookies of established connections.

        Of those that are noted in `rows`, all are returned; of others, some.

        Raises:
            KernelError: the sockets cannot be looked at.
        """
        with boundary(KernelError, "sockets cannot be looked at"):
            here = self._here()
        noted = [{cookie for cookie, _ in row.sockets} for row in rows]
        if all(cookies & here for cookies in noted if cookies):
            return here
        now = self._clock()
        if now - self._asked >= ASK_SECONDS:
            self._elsewhere = self._everywhere()
            self._asked = now
        return here | self._elsewhere
