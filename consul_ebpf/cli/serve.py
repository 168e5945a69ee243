"""`run`: serve until SIGTERM or SIGINT."""

import asyncio
import contextlib
import os
import signal

import click

from consul_ebpf._threads import finish
from consul_ebpf.cli import logs
from consul_ebpf.cli.notify import notify
from consul_ebpf.cli.options import configured
from consul_ebpf.config.schema import Config
from consul_ebpf.converge import Converged
from consul_ebpf.kernel.backend import BccMapBackend
from consul_ebpf.wiring import (
    bootstrap_files,
    build_runner,
    open_backend,
    open_namespaces,
)


@click.command()
@click.option(
    "--detach-on-exit",
    is_flag=True,
    help="Remove programs and tables at the end; by default they go on redirecting.",
)
@configured(serving=True)
def run(config: Config, *, detach_on_exit: bool) -> None:
    """Serve this host's proxies until SIGTERM or SIGINT."""
    logs.set_up(config.log)
    asyncio.run(_serve(config, detach_on_exit=detach_on_exit))


async def _serve(config: Config, *, detach_on_exit: bool) -> None:
    """Serve in a task that the first signal cancels, at whatever it is doing."""
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(
        _open_and_run(config, detach_on_exit=detach_on_exit), name="serve"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _open_and_run(config: Config, *, detach_on_exit: bool) -> None:
    def let_go(opened: BccMapBackend) -> None:
        if detach_on_exit:
            opened.detach()
        else:
            opened.close()

    bootstrap_files(config)  # refuses an unknown owner before the kernel is touched
    # `finish`: a start that was begun is carried through, so that nothing half done
    # stays in the kernel; the cancellation comes right after.
    opened = await finish(lambda: open_backend(config), undo=let_go)
    said = False

    def tell(done: Converged) -> None:
        nonlocal said
        if not said:
            said = True
            click.echo(
                f"ready: {done.servers} servers, {done.proxies} proxies"
                f" ({done.refused} refused), attached at {opened.cgroup},"
                f" pid {os.getpid()}"
            )
            notify("READY=1", os.environ)

    namespaces = open_namespaces()
    try:
        await build_runner(config, opened, namespaces).run(tell)
    finally:
        notify("STOPPING=1", os.environ)
        namespaces.close()
        let_go(opened)
