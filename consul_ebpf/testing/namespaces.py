"""An in-memory `Namespaces`."""

from collections.abc import Mapping, Sequence

from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.seams import Doomed
from consul_ebpf.model.values import Server


class FakeNamespaces:
    """A `Namespaces` of two dicts: cookies by path, and peers of sockets by cookie.

    Set `failure` to make each call raise it, as if the privilege were missing.
    """

    def __init__(
        self,
        cookies: Mapping[str, int] | None = None,
        sockets: Mapping[int, Server] | None = None,
    ) -> None:
        """Begin with these namespaces and sockets."""
        self.cookies = dict(cookies or {})
        self.sockets = dict(sockets or {})
        self.failure: Exception | None = None
        self.asked = 0
        """How often `cookie` was called."""
        self.closed = False

    def __repr__(self) -> str:
        return f"<FakeNamespaces {self.cookies} {len(self.sockets)} sockets>"

    def cookie(self, path: str) -> int:
        """Return the cookie that the test gave for the path."""
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if path not in self.cookies:
            raise KernelError(f"network namespace {path} is not there")
        return self.cookies[path]

    def established(self) -> frozenset[int]:
        """Return the cookies of all sockets."""
        if self.failure is not None:
            raise self.failure
        return frozenset(self.sockets)

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        """Remove the sockets whose peer is the given server."""
        if self.failure is not None:
            raise self.failure
        found = [each for each in doomed if self._leads_to(each)]
        for each in found:
            del self.sockets[each.cookie]
        return len(found)

    def _leads_to(self, doomed: Doomed) -> bool:
        peer = self.sockets.get(doomed.cookie)
        return peer is not None and peer.endpoint == doomed.server.endpoint

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
