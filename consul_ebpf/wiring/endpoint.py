"""Makes the local endpoint: first its sockets, then what it serves."""

import logging
import resource
from pathlib import Path

from consul_ebpf.base.events import EventCounter
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import Work
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.runner import Runner
from consul_ebpf.kernel.sockets import established_here
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import DNS_NAME, GRPC, PluginState
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


class Endpoint:
    """The endpoint of `[api]`. It is opened before all other parts, and closed last.

    Raises:
        ConsulEbpfError: the sockets or users of `[api]` cannot be had on this host now.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._writers = writers(config.api.users)
        listen = parse_endpoint(config.api.listen) if config.api.listen else None
        self._listeners = Listeners(api_socket(config), listen)
        self.registered = RegisteredWorkloads(
            Path(config.bootstrap.directory), config.consul.credentials
        )
        """The proxies that are registered at it."""

    def __repr__(self) -> str:
        return f"<Endpoint {self._listeners!r}>"

    def close(self) -> None:
        """Close its sockets."""
        self._listeners.close()

    def serving(
        self,
        runner: Runner,
        namespaces: Namespaces,
        counter: EventCounter,
        plugin: Latest[PluginState] | None = None,
    ) -> Work:
        """Return the part that serves the endpoint from the runner's cells.

        `plugin` has what kubelet made of the node plugin; None: there is none.
        """
        tables = {GRPC.name: runner.tables.read}
        if runner.dns is not None:
            tables[DNS_NAME] = runner.dns.tables.read
        host = Host(
            gatherer(
                self._config,
                EstablishedSockets(established_here, namespaces.established),
            ),
            tables,
            runner.cells.outcome,
            bootstrap_files(self._config).bootstrap_path,
            events=lambda: counter.counts,
            tokens=lambda: runner.tokens_made,
            logins_queued=lambda: runner.logins_queued,
            logins_failing=lambda: runner.logins_failing,
            plugin=lambda: _state(plugin) if plugin else None,
        )
        if self._config.api.listen:
            at = self._config.api.listen
            logger.info("the endpoint serves reads and metrics at %s, too", at)

        def lacking() -> str:
            open_ = plugin is None or _state(plugin).serving
            return "" if open_ else "kubelet's sockets are not open yet"

        handlers = Handlers(host, self.registered, self._writers, lacking)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = Room(self._writers, Limits().within(descriptors))
        return lambda: serve(handlers, self._listeners, room)


def _state(plugin: Latest[PluginState]) -> PluginState:
    return plugin.value or PluginState()
