"""The command: arguments and environment to configuration to parts.

The only place that prints and exits. One module for each kind of command: `serve.py`
(run, with `endpoint.py`), `envoys.py` (envoy, wait), `stopping.py` (stop), `show.py`
(status, render),
`doctor.py`, and here the rest.
"""

import sys
from pathlib import Path

import click

from consul_ebpf.cli import logs
from consul_ebpf.cli.doctor import doctor
from consul_ebpf.cli.envoys import envoy, wait
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.output import say
from consul_ebpf.cli.serve import run
from consul_ebpf.cli.show import render, status
from consul_ebpf.cli.stopping import stop
from consul_ebpf.config import dataplane
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError

EXIT_CODES = """
Exit codes: 0 done; 2 bad configuration; 3 a privilege or kernel feature is missing;
4 another controller holds the host; 1 anything else.
"""


class _Commands(click.Group):
    """A group whose commands end with our errors' exit codes, in one line."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Keep the words, for an error in them."""
        ctx.meta["words"] = list(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; print an error of ours as one line."""
        logs.set_up_commands()
        try:
            return super().invoke(ctx)
        except click.NoSuchOption:
            # Somebody comes from there: say more than that there is no such thing.
            why = dataplane.refused(ctx.meta["words"])
            if not why:
                raise
            say(f"consul-ebpf: {why}", err=True)
            sys.exit(ConfigError.exit_code)
        except ConsulEbpfError as error:
            say(f"consul-ebpf: {error}", err=True)
            sys.exit(error.exit_code)


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    # Imported here: no other command needs it, and it is not cheap.
    from importlib import metadata  # noqa: PLC0415

    try:
        say(f"consul-ebpf {metadata.version('consul-ebpf')}")
    except metadata.PackageNotFoundError:
        say("consul-ebpf, run from its source: not installed")
    context.exit()


@click.group(
    cls=_Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Consul's service mesh without a consul-dataplane beside every Envoy."""


@main.command()
@configured(serving=False)
def detach(config: Config) -> None:
    """Remove programs and tables; VIPs are then ordinary loopback addresses."""
    pins = Pins(Path(config.kernel.bpffs))
    if not pins.root.is_dir():
        say(f"nothing is pinned at {pins.root}")
        return
    with pins:
        pins.remove()
    say(f"removed {pins.root}: nothing is redirected any more")


main.add_command(run)
main.add_command(envoy)
main.add_command(wait)
main.add_command(stop)
main.add_command(status)
main.add_command(render)
main.add_command(doctor)
