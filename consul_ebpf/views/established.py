"""Which of the sockets that the kernel noted are established: looked at cheaply."""

import time
from collections.abc import Callable, Iterable

from consul_ebpf.base.boundary import boundary
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import VipCounters

SECONDS = 1.0
"""From one question to the helper to the next."""


class Established:
    """Looks in the controller's own network namespace, mostly that of all Envoys.

    Only where a proxy has no connection there, as its Envoy may be in another namespace
    or gone, the helper that may enter them all is asked: it forks to answer.

    Args:
        here: the cookies of established connections in this namespace. Blocking.
        everywhere: those in all namespaces. Blocking.
        clock: seconds.
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
        return f"<Established {len(self._elsewhere)} elsewhere>"

    def __call__(self, rows: Iterable[VipCounters]) -> frozenset[int]:
        """Return the cookies; of sockets that no row notes, only some.

        Raises:
            KernelError: they cannot be told.
        """
        with boundary(KernelError, "sockets cannot be told"):
            here = self._here()
        noted = [{cookie for cookie, _ in row.sockets} for row in rows]
        if all(cookies & here for cookies in noted if cookies):
            return here
        now = self._clock()
        if now - self._asked >= SECONDS:
            self._elsewhere = self._everywhere()
            self._asked = now
        return here | self._elsewhere
