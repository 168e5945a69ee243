"""The two unix sockets by which kubelet finds the driver and calls it.

A socket is made beside its place, closed to others, and moved there: kubelet never sees
one that does not answer yet. Kubelet forgets a driver whose registration socket is
removed, and looks at a new one at once.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import grpc

from consul_ebpf.base import unix_sockets
from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.retry import growing
from consul_ebpf.kubernetes.csi.node import NodeServices, Volumes, registration
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import PluginState

logger = logging.getLogger(__name__)

LARGEST_REQUEST = 1 << 20
"""Bytes. A publish call has some kilobytes; most of it are tokens."""

OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_REQUEST),
    ("grpc.so_reuseport", 0),
)

SOCKET_MODE = 0o600

LONGEST_PAUSE_SECONDS = 60.0
"""Between two registrations of a driver that kubelet refuses."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how often."""

    calls: int = 512
    """At the same time; kubelet tries again what is refused for this."""
    look_seconds: float = 5.0
    """Between two looks whether the sockets are still there."""
    pause_seconds: float = 1.0
    """From a registration that kubelet refused to the next one; twice as long after
    each further one."""


class UnixServer:
    """A gRPC server at a unix socket that only this user can connect to.

    Args:
        path: of the socket.
        handlers: the services.
        calls: how many may be answered at the same time.
    """

    def __init__(
        self, path: Path, handlers: Iterable[grpc.GenericRpcHandler], calls: int
    ) -> None:
        self._path = path
        self._calls = calls
        self._handlers = tuple(handlers)
        self._server: grpc.aio.Server | None = None
        self._made: unix_sockets.Identity | None = None

    def __repr__(self) -> str:
        return f"<UnixServer {self._path}>"

    async def open(self) -> None:
        """Make the socket, anew if there is one already, and serve.

        Raises:
            ConsulEbpfError: it cannot be made there.
        """
        await self.close()
        shown = one_line(self._path)
        what = f"kubernetes.kubelet_directory: cannot listen at {shown}"
        with boundary(ConsulEbpfError, what):
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            # Kubelet does not look at names that begin with a dot.
            beside = self._path.with_name(f".{self._path.stem[:-1]}")
            for path in (self._path, beside):
                unix_sockets.make_way(path, "kubernetes.driver", "remove it")
            self._server = grpc.aio.server(
                options=OPTIONS, maximum_concurrent_rpcs=self._calls
            )
            self._server.add_generic_rpc_handlers(self._handlers)
            self._server.add_insecure_port(f"unix:{quote(str(beside))}")
            beside.chmod(SOCKET_MODE)
            await self._server.start()
            made = unix_sockets.identity(beside)
            beside.rename(self._path)
            self._made = made

    def is_in_place(self) -> bool:
        """Whether the socket that was made is still there."""
        try:
            return self._made == unix_sockets.identity(self._path)
        except OSError:
            return False

    async def close(self) -> None:
        """Remove the socket, and end what is being answered."""
        made, self._made = self._made, None
        unix_sockets.remove(self._path, made)
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)


class Plugin:
    """Serves kubelet's calls, and has kubelet register the driver.

    Args:
        volumes: publishes and unpublishes.
        driver: the CSI driver's name.
        node_name: the node's name in Kubernetes.
        csi: path of the CSI socket.
        registering: path of the registration socket.
        state: is filled with what kubelet can do, and what it said.
        limits: how much at once, and how often.
    """

    def __init__(
        self,
        volumes: Volumes,
        *,
        driver: str,
        node_name: str,
        csi: Path,
        registering: Path,
        state: Latest[PluginState],
        limits: Limits | None = None,
    ) -> None:
        self._driver = driver
        self._state = state
        self._limits = limits = limits or Limits()
        services = NodeServices(volumes, driver=driver, node_name=node_name)
        self._csi = UnixServer(csi, services.handlers(), limits.calls)
        service = registration(driver, str(csi), self.tell)
        self._registering = UnixServer(registering, [service], limits.calls)

    def __repr__(self) -> str:
        return f"<Plugin {self._driver} {self._csi!r}>"

    async def run(self) -> None:
        """Serve until cancelled; then remove the sockets.

        Raises:
            ConsulEbpfError: a socket cannot be made.
        """
        try:
            await self._csi.open()
            await self._registering.open()
            self._state.set(PluginState(serving=True))
            await self._stay()
        finally:
            self._state.set(PluginState())
            # This one first: then kubelet expects no answer at the other.
            await self._registering.close()
            await self._csi.close()

    async def _stay(self) -> None:
        """Make the sockets anew when one is gone, or kubelet has refused the driver."""
        refusals = 0
        while True:
            version = self._state.version
            refused = self._told.registered is False
            refusals = refusals if refused else 0
            pause = self._limits.look_seconds
            if refused:
                first = self._limits.pause_seconds
                pause = growing(refusals, first, LONGEST_PAUSE_SECONDS)
            if await self._state.changed_since(version, pause):
                continue  # kubelet said something else
            if not self._csi.is_in_place():
                await self._csi.open()
            if refused or not self._registering.is_in_place():
                refusals += 1
                await self._registering.open()

    @property
    def _told(self) -> PluginState:
        return self._state.value or PluginState()

    def tell(self, *, registered: bool, error: str) -> None:
        """Take kubelet's newest word on the registration."""
        before = self._told
        now = replace(before, registered=registered, error=error)
        self._state.set(now)
        if now == before:
            return
        if registered:
            logger.info("kubelet registered the CSI driver %s", self._driver)
        else:
            logger.warning(
                "kubelet refused the CSI driver %s, and is asked again: %s",
                self._driver,
                error,
                extra=event("not_registered"),
            )
