"""`run`: serve until SIGTERM or SIGINT."""

import asyncio
import contextlib
import logging
import os
import signal

import click

from consul_ebpf.base.events import EventCounter, event
from consul_ebpf.cli import logs
from consul_ebpf.cli.endpoint import Endpoint
from consul_ebpf.cli.limits import InotifyLimit
from consul_ebpf.cli.notify import Notifier
from consul_ebpf.cli.options import configured, consul_dataplanes
from consul_ebpf.cli.output import say
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel import capabilities, privileges
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.kernel.closed_files import ClosedFiles
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.files import bootstrap_files, event_counts
from consul_ebpf.wiring.host import (
    build_runner,
    open_backend,
    open_namespaces,
    registered_workloads,
)

logger = logging.getLogger(__name__)


@click.command()
@click.option(
    "--detach-on-exit",
    is_flag=True,
    help="Remove programs and tables at the end; by default they go on redirecting.",
)
@consul_dataplanes("run")
@configured(serving=True)
def run(config: Config, *, detach_on_exit: bool) -> None:
    """Serve this host's proxies until SIGTERM or SIGINT."""
    counter = logs.set_up(config.log)
    asyncio.run(_serve(config, counter, detach_on_exit=detach_on_exit))


async def _serve(
    config: Config, counter: EventCounter, *, detach_on_exit: bool
) -> None:
    """Serve in a task that the first signal cancels, at whatever it is doing."""
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(
        _open_and_run(config, counter, detach_on_exit=detach_on_exit), name="serve"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _open_and_run(
    config: Config, counter: EventCounter, *, detach_on_exit: bool
) -> None:
    files = bootstrap_files(config)  # refuses an unknown owner before the kernel does
    privileges.check_owner(files.owner, os.geteuid(), capabilities.effective())
    _check_tls(config)
    with contextlib.ExitStack() as stack:
        endpoint = None
        if config.api.enabled:
            endpoint = Endpoint(config)
            stack.callback(endpoint.close)
        await _attach_and_run(
            config, counter, files, endpoint, detach_on_exit=detach_on_exit
        )


async def _attach_and_run(
    config: Config,
    counter: EventCounter,
    files: BootstrapFiles,
    endpoint: Endpoint | None,
    *,
    detach_on_exit: bool,
) -> None:
    # Here and now, before there is another thread: capabilities are a thread's own. A
    # signal meanwhile cancels at the next await, so a start is carried through.
    opened = open_backend(config)
    try:
        namespaces = open_namespaces(config)
    except BaseException:
        opened.close()
        raise
    notifier = Notifier(os.environ)
    counts = event_counts(config)

    saving: asyncio.Future[None] | None = None

    def upkeep() -> None:
        nonlocal saving
        notifier.alive()
        if saving is None or saving.done():  # a disk that hangs delays no ping
            loop = asyncio.get_running_loop()
            saving = loop.run_in_executor(None, counts.save, counter.counts)

    limit = InotifyLimit(config)
    try:
        limit.make_room(len(config.proxies))
        _give_up_privileges(config, files, opened)
        await asyncio.sleep(0)
        registered = registered_workloads(config) if endpoint is not None else None
        runner = build_runner(
            config,
            opened,
            namespaces,
            registered,
            files=files,
            reader=ClosedFiles(namespaces.helper),
        )
        ready = _Ready(opened, notifier, limit)
        if endpoint is None or registered is None:
            await runner.run(ready, upkeep)
        else:
            await endpoint.run_with(
                runner, registered, namespaces, counter, (ready, upkeep)
            )
    finally:
        notifier.stopping()
        counts.save(counter.counts)
        namespaces.close()
        if detach_on_exit:
            opened.detach()
        else:
            opened.close()


def _check_tls(config: Config) -> None:
    """Refuse files that cannot be used before anything is attached."""
    tls = config.consul.tls
    if not tls.disabled or any(
        u.startswith("https:") for u in config.consul.http_addresses
    ):
        Parts(config).tls.material()
    for url in config.consul.http_addresses:
        if not tls.disabled and not HttpAddress.parse(url).here and url[:5] == "http:":
            logger.warning(
                "consul.http_addresses: %s is plaintext: whoever is on the way reads"
                " the ACL tokens that are sent there; write https:// if Consul has it",
                url,
            )
    if tls.insecure_skip_verify:
        logger.warning(
            "consul.tls.insecure_skip_verify: no certificate is verified, by the"
            " controller or by any Envoy: whoever answers in a server's place gets"
            " the ACL tokens",
            extra=event("not_verified"),
        )


def _give_up_privileges(
    config: Config, files: BootstrapFiles, opened: BccMapBackend
) -> None:
    """Keep the least, and say what: the helper, started before, keeps its own."""
    files.learn()
    tls = config.consul.tls
    read = (tls.ca_certs, tls.cert, tls.key, config.workloads.directory)
    ours = {
        **opened.capabilities_to_keep(),
        **privileges.to_keep(files.owner, read, os.geteuid()),
    }
    have = capabilities.effective()
    helpers = privileges.of_helper(destroy_sockets=config.kernel.destroy_sockets)
    kept = capabilities.keep_only(ours)
    logger.info(
        "%s",
        privileges.in_words(
            {name: ours[name] for name in kept},
            {name: why for name, why in helpers.items() if name in have},
        ),
    )


class _Ready:
    """Says so when we serve what is known; then keeps systemd's status."""

    def __init__(
        self, opened: BccMapBackend, notifier: Notifier, limit: InotifyLimit
    ) -> None:
        self._opened = opened
        self._limit = limit
        self._notifier = notifier
        self._said = False

    def __call__(self, done: Converged) -> None:
        self._limit.make_room(done.proxies)
        if not self._said:
            self._said = True
            self._notifier.ready()  # before anything that may fail
            say(
                f"ready: {done.servers} servers, {done.proxies} proxies"
                f" ({done.refused} refused), attached at {self._opened.cgroup},"
                f" pid {os.getpid()}"
            )
        missing = f"; missing: {'; '.join(done.missing)}" if done.missing else ""
        self._notifier.status(
            f"{done.servers} servers ready, {done.proxies} proxies,"
            f" {done.refused} refused{missing}"
        )
