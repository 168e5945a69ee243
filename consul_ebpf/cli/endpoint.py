"""`run` with the local endpoint beside the runner."""

import asyncio
import logging
import resource
from collections.abc import Callable, Mapping

from consul_ebpf.base.events import EventCounter
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import keep_running
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.outcomes import Converged, Outcome
from consul_ebpf.controller.runner import Runner
from consul_ebpf.kernel.sockets import established_here
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import GRPC
from consul_ebpf.proxies.sources.registered import RegisteredWorkloads
from consul_ebpf.views.endpoint import serve
from consul_ebpf.views.handlers import Handlers
from consul_ebpf.views.host import Host
from consul_ebpf.views.listeners import Listeners
from consul_ebpf.views.peers import writers
from consul_ebpf.views.room import Limits, Room
from consul_ebpf.views.sockets import EstablishedSockets
from consul_ebpf.wiring.files import api_socket, bootstrap_files, gatherer

logger = logging.getLogger(__name__)

Hooks = tuple[Callable[[Converged], None], Callable[[], None]]
"""What is called after each round, and at each upkeep."""


class Endpoint:
    """The endpoint before there is anything to tell: its sockets, who may register.

    Raises:
        ConsulEbpfError: `[api]` cannot be carried out on this host, or not now.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._writers = writers(config.api.users)
        listen = parse_endpoint(config.api.listen) if config.api.listen else None
        self._listeners = Listeners(api_socket(config), listen)

    def __repr__(self) -> str:
        return f"<Endpoint {self._listeners!r}>"

    def close(self) -> None:
        """Close its sockets."""
        self._listeners.close()

    async def run_with(
        self,
        runner: Runner,
        registered: RegisteredWorkloads,
        namespaces: Namespaces,
        counter: EventCounter,
        hooks: Hooks,
    ) -> None:
        """Serve the proxies and the endpoint, until the proxies' side ends."""
        established = EstablishedSockets(established_here, namespaces.established)
        outcomes: Latest[Mapping[str, Outcome]] = Latest()
        host = Host(
            gatherer(self._config, established),
            {GRPC.name: runner.tables.read},
            outcomes,
            bootstrap_files(self._config).bootstrap_path,
            events=lambda: counter.counts,
            tokens=lambda: runner.tokens_made,
        )
        on_converged, on_upkeep = hooks

        def converged(done: Converged) -> None:
            outcomes.set(done.outcomes)
            on_converged(done)

        handlers = Handlers(host, registered, self._writers)
        if self._config.api.listen:
            at = self._config.api.listen
            logger.info("the endpoint is at %s, too, for reading", at)
        room = Room(self._writers, _limits())
        serving = asyncio.create_task(
            keep_running(
                "the local endpoint", lambda: serve(handlers, self._listeners, room)
            ),
            name="endpoint",
        )
        try:
            await runner.run(converged, on_upkeep)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            self.close()


def _limits() -> Limits:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits().within(descriptors)
