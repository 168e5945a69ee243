"""`run`: serve until SIGTERM or SIGINT."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consul_ebpf.base import heap
from consul_ebpf.base.events import EventCounter, event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.tasks import Work
from consul_ebpf.base.threads import switch_often
from consul_ebpf.cli import logs
from consul_ebpf.cli.notify import Notifier
from consul_ebpf.cli.options import configured, consul_dataplanes
from consul_ebpf.cli.output import say
from consul_ebpf.cli.taking_over import when_free
from consul_ebpf.config.schema import Config
from consul_ebpf.controller.cells import Cells
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel import capabilities, privileges
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.kernel.closed_files import ClosedFiles
from consul_ebpf.kernel.inotify import InotifyLimit
from consul_ebpf.kernel.namespaces import HelperNamespaces
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.wiring.consul import Parts
from consul_ebpf.wiring.dns import open_dns
from consul_ebpf.wiring.endpoint import Endpoint
from consul_ebpf.wiring.files import bootstrap_files, event_counts, instances_per_envoy
from consul_ebpf.wiring.history import history
from consul_ebpf.wiring.host import build_runner, open_backend, open_namespaces

if TYPE_CHECKING:
    from consul_ebpf.wiring.kubernetes import KubernetesNode

logger = logging.getLogger(__name__)

TAKE_OVER_SECONDS = 30.0
"""How long `run` waits on a node of Kubernetes for another controller to end."""


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
    heap.use_one_arena()
    switch_often()
    asyncio.run(_serve(config, counter, detach_on_exit=detach_on_exit))


async def _serve(
    config: Config, counter: EventCounter, *, detach_on_exit: bool
) -> None:
    """Serve in a task; the first signal cancels it."""
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
    """Open everything, the kernel last, and run until cancelled."""
    files = bootstrap_files(config)  # refuses an unknown owner before the kernel does
    privileges.check_owner(files.owner, os.geteuid(), capabilities.effective())
    pods = config.kubernetes.enabled
    if pods:
        privileges.check_volumes(capabilities.effective())
    # The pod of the controller before this one may end a little later.
    patience = TAKE_OVER_SECONDS if pods else 0.0
    _check_tls(config)
    with contextlib.ExitStack() as stack:
        endpoint = None
        if config.api.enabled:
            made = await when_free(partial(Endpoint, config), patience)
            endpoint = stack.enter_context(contextlib.closing(made))
        # In this thread, before there is another: each thread has its own capabilities.
        # A signal cancels only at the next await, so all of this is carried through.
        backend = await when_free(partial(open_backend, config), patience)
        opened = stack.enter_context(backend)
        backends, dns = [opened], open_dns(config)
        if isinstance(dns, BccMapBackend):
            backends.append(stack.enter_context(dns))
        namespaces = open_namespaces(config)
        if detach_on_exit:
            for each in backends:
                stack.callback(each.detach)
        stack.callback(namespaces.close)
        counts = event_counts(config)
        stack.callback(lambda: counts.save(counter.counts))
        limit = InotifyLimit(instances_per_envoy(config))
        limit.make_room(len(config.proxies))
        _give_up_privileges(config, files, opened)
        await asyncio.sleep(0)
        consul = Parts(config, ClosedFiles(namespaces.helper))
        node = _node(config, consul, namespaces)
        runner = build_runner(
            config,
            opened,
            namespaces,
            endpoint.registered if endpoint else None,
            dns=dns,
            files=files,
            parts=consul,
            pods=node.source if node else None,
        )
        cells = runner.cells
        if node is not None and not detach_on_exit:
            stack.callback(_detach_unused, node, cells, backends)
        parts: dict[str, Work] = {
            "the ready line": lambda: _say_ready(cells.outcome, opened.cgroup),
            "systemd": Notifier(os.environ, cells.outcome, cells.alive).run,
            "inotify": lambda: limit.follow(cells.proxies),
            "event counts": lambda: counts.follow(counter),
            "history": history(config, cells, counter),
        }
        if node is not None:
            parts.update(node.parts())
        if endpoint is not None:
            parts["the local endpoint"] = endpoint.serving(
                runner, namespaces, counter, node.state if node else None
            )
        await runner.run(parts=parts)


def _node(
    config: Config, parts: Parts, namespaces: HelperNamespaces
) -> "KubernetesNode | None":
    """Make what serves this node's pods; None: this is no node of Kubernetes."""
    if not config.kubernetes.enabled:
        return None
    # Memory that other hosts do not need.
    from consul_ebpf.wiring.kubernetes import KubernetesNode  # noqa: PLC0415

    return KubernetesNode(config, parts, namespaces.helper)


def _detach_unused(
    node: "KubernetesNode", cells: Cells, backends: Iterable[BccMapBackend]
) -> None:
    """Leave nothing in the kernel of a node where nobody is served.

    Nobody runs a command on each node when the DaemonSet is deleted; its pods are to be
    gone before. After an upgrade the program is attached again.
    """
    done = cells.outcome.value
    if done is None or done.proxies or not node.is_unused:
        return
    try:
        for each in backends:
            each.detach()
    except ConsulEbpfError as error:
        logger.warning("left in the kernel, for `detach`: %s", error)
    else:
        logger.info("no pod is served: nothing is left in the kernel")


async def _say_ready(outcome: Latest[Converged], cgroup: Path) -> None:
    """Print one line after the first round: the known proxies are served."""
    async for done in outcome.changes():
        say(
            f"ready: {done.servers} servers, {done.proxies} proxies"
            f" ({done.refused} refused), attached at {cgroup}, pid {os.getpid()}"
        )
        return


def _check_tls(config: Config) -> None:
    """Check the files of TLS before anything is attached, and warn of plaintext."""
    tls = config.consul.tls
    if not tls.disabled or any(
        u.startswith("https:") for u in config.consul.http_addresses
    ):
        Parts(config).tls.material()
    for url in config.consul.http_addresses:
        if not tls.disabled and not HttpAddress.parse(url).here and url[:5] == "http:":
            logger.warning(
                "consul.http_addresses: %s is plaintext: anybody on the network path"
                " can read the ACL tokens sent there; write https:// if Consul has it",
                url,
            )
    if tls.insecure_skip_verify:
        logger.warning(
            "consul.tls.insecure_skip_verify: neither the controller nor any"
            " Envoy verifies certificates: whoever answers in a server's place gets"
            " the ACL tokens",
            extra=event("not_verified"),
        )


def _give_up_privileges(
    config: Config, files: BootstrapFiles, opened: BccMapBackend
) -> None:
    """Drop all capabilities that are not needed, and log what is kept.

    The helper was started before this, and keeps its own.
    """
    files.learn()
    tls = config.consul.tls
    read = (tls.ca_certs, tls.cert, tls.key, config.workloads.directory)
    ours = {
        **opened.capabilities_to_keep(),
        **privileges.to_keep(
            files.owner, read, os.geteuid(), volumes=config.kubernetes.enabled
        ),
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
