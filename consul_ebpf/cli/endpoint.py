"""`run` with the local endpoint beside the runner."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from consul_ebpf.base import timing
from consul_ebpf.base.events import EventCounter
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.round import Converged
from consul_ebpf.controller.runner import Runner
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.seams import Namespaces
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.registered import RegisteredWorkloads
from consul_ebpf.views.endpoint import serve
from consul_ebpf.views.handlers import Handlers
from consul_ebpf.views.peers import writers
from consul_ebpf.views.proxies import Host
from consul_ebpf.views.snapshot import Snapshot, take
from consul_ebpf.wiring import api_socket, bootstrap_files, names_of

Hooks = tuple[Callable[[Converged], None], Callable[[], None]]
"""What is called after each round, and at each upkeep."""


async def run_with(  # noqa: PLR0917  # the parts of a controller
    config: Config,
    runner: Runner,
    registered: RegisteredWorkloads,
    namespaces: Namespaces,
    counter: EventCounter,
    hooks: Hooks,
) -> None:
    """Serve the proxies and the endpoint, until one of them fails or is cancelled."""
    files = bootstrap_files(config)
    host = Host(runner.read, namespaces.established, files.bootstrap_path)
    on_converged, on_upkeep = hooks

    def snapshot() -> Snapshot:
        return take(
            Path(config.kernel.bpffs),
            names_of(config),
            counter.counts,
            namespaces.established,
        )

    def metrics() -> tuple[bytes, str]:
        # Imported at the first scrape: not everybody does.
        from consul_ebpf.views.metrics.text import text  # noqa: PLC0415
        from consul_ebpf.views.metrics.values import Known  # noqa: PLC0415

        seen = snapshot()
        ids = [each.id for each in seen.proxies if each.id]
        paths = {each: files.bootstrap_path(Proxy(each, "")) for each in ids}
        return text(
            Known(
                snapshot=seen,
                version=_version(),
                now=time.time(),
                events=counter.counts,
                durations=timing.durations(),
                errors=timing.counts("connection_errors"),
                moved=timing.counts("moved"),
                moved_from=timing.counts("moved_from"),
                tokens=runner.tokens_made,
                bootstraps=_written(paths),
            )
        )

    def converged(done: Converged) -> None:
        host.converged(done)
        on_converged(done)

    handlers = Handlers(
        host,
        registered,
        writers(config.api.users),
        lambda: snapshot().to_json(),
        metrics,
    )
    listen = None
    if config.api.listen:
        address, port = parse_endpoint(config.api.listen)
        listen = str(address), port
    await _first_of(
        runner.run(converged, on_upkeep), serve(handlers, api_socket(config), listen)
    )


async def _first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all; what makes one fail ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in work:
                tasks.create_task(each)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group


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
