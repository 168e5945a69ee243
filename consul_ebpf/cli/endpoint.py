"""`run` with the local endpoint beside the runner."""

import asyncio
import json
import logging
import resource
import time
from collections.abc import Callable
from pathlib import Path

from consul_ebpf.base import timing
from consul_ebpf.base.events import EventCounter
from consul_ebpf.base.tasks import keep_running
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.runner import Runner
from consul_ebpf.kernel.sockets import established_here
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.proxies.sources.registered import RegisteredWorkloads
from consul_ebpf.views.endpoint import serve
from consul_ebpf.views.established import Established
from consul_ebpf.views.handlers import Handlers
from consul_ebpf.views.listening import Listeners
from consul_ebpf.views.peers import writers
from consul_ebpf.views.proxies import Host
from consul_ebpf.views.room import Limits, Room
from consul_ebpf.views.snapshot import Snapshot, take
from consul_ebpf.wiring import (
    admins_of,
    api_socket,
    bootstrap_files,
    names_of,
    problem_file,
)

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
        listen = None
        if config.api.listen:
            address, port = parse_endpoint(config.api.listen)
            listen = str(address), port
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
        established = Established(established_here, namespaces.established)
        files = bootstrap_files(self._config)
        host = Host(runner.read, established, files.bootstrap_path)
        told = _Told(self._config, runner, counter, host)
        on_converged, on_upkeep = hooks

        def converged(done: Converged) -> None:
            host.converged(done)
            on_converged(done)

        handlers = Handlers(host, registered, self._writers, told.status, told.metrics)
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


class _Told:
    """What /v1/status and /metrics tell."""

    def __init__(
        self, config: Config, runner: Runner, counter: EventCounter, host: Host
    ) -> None:
        self._config = config
        self._runner = runner
        self._counter = counter
        self._host = host

    async def status(self) -> bytes:
        """Return what `status --json` prints."""
        _, cookies = await self._host.look()
        snapshot = await asyncio.to_thread(self._take, cookies)
        return json.dumps(snapshot.to_json()).encode()

    async def metrics(self) -> tuple[bytes, str]:
        """Return the body of /metrics and its content type."""
        _, cookies = await self._host.look()
        return await asyncio.to_thread(self._metrics, cookies)

    def _take(self, cookies: frozenset[int]) -> Snapshot:
        return take(
            Path(self._config.kernel.bpffs),
            names_of(self._config),
            self._counter.counts,
            lambda: cookies,
            admins=admins_of(self._config),
            problems=problem_file(self._config).read(),
        )

    def _metrics(self, cookies: frozenset[int]) -> tuple[bytes, str]:
        # Imported at the first scrape: not everybody does.
        from consul_ebpf.views.metrics.text import text  # noqa: PLC0415
        from consul_ebpf.views.metrics.values import Known  # noqa: PLC0415

        seen = self._take(cookies)
        names = [each.id for each in seen.proxies if each.id]
        paths = {each: self._host.bootstrap_path(each) for each in names}
        made = self._runner.tokens_made.items()
        return text(
            Known(
                snapshot=seen,
                version=_version(),
                now=time.time(),
                events=self._counter.counts,
                durations=timing.durations(),
                errors=timing.counts("connection_errors"),
                moved=timing.counts("moved"),
                moved_from=timing.counts("moved_from"),
                tokens={self._host.name(key): when for key, when in made},
                bootstraps=_written(paths),
            )
        )


def _limits() -> Limits:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Limits().within(descriptors)


def _written(paths: dict[str, Path]) -> dict[str, float]:
    times = {}
    for proxy, path in paths.items():
        try:
            times[proxy] = path.stat().st_mtime
        except OSError:
            continue
    return times


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version("consul-ebpf")
    except metadata.PackageNotFoundError:
        return "unknown"
