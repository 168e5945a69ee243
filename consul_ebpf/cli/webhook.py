"""`webhook`: answer Kubernetes' API server until SIGTERM or SIGINT."""

import asyncio
import contextlib
import signal

import click

from consul_ebpf.base.tasks import keep_all_running
from consul_ebpf.cli import logs
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say
from consul_ebpf.config.schema import Config
from consul_ebpf.wiring.webhook import Webhook


@click.command()
@configured(serving=False)
def webhook(config: Config) -> None:
    """Turn the consul-dataplane of Kubernetes' pods into plain Envoys.

    Needs no privilege and nothing of the kernel. Serves until SIGTERM or SIGINT.
    """
    logs.set_up(config.log)
    asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    """Serve in a task; the first signal cancels it."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(Webhook(config)) as opened:

        async def say_ready() -> None:
            async for _ in opened.certificate.changes():
                say(f"ready: the webhook listens at {config.webhook.listen}")
                return

        parts = {**opened.parts(), "the ready line": say_ready}
        serving = asyncio.create_task(keep_all_running(parts), name="serve")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving
