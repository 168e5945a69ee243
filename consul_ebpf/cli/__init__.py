"""The command: arguments and environment to configuration to parts.

The only place that prints and exits. One module for each kind of command: `serve.py`
(run), `show.py` (status, render), `doctor.py`, and here the rest.
"""

import os
import sys
from pathlib import Path

import click

from consul_ebpf._errors import ConsulEbpfError
from consul_ebpf._values import Proxy
from consul_ebpf.cli.doctor import doctor
from consul_ebpf.cli.options import configured
from consul_ebpf.cli.serve import run
from consul_ebpf.cli.show import render, status
from consul_ebpf.config.schema import Config
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.workloads.checks import check_proxy

EXIT_CODES = """
Exit codes: 0 done; 2 bad configuration; 3 a privilege or kernel feature is missing;
4 another controller holds the host; 1 anything else.
"""


class _Commands(click.Group):
    """A group whose commands end with our errors' exit codes, in one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; print an error of ours as one line."""
        try:
            return super().invoke(ctx)
        except ConsulEbpfError as error:
            click.echo(f"consul-ebpf: {error}", err=True)
            sys.exit(error.exit_code)


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    # Imported here: no other command needs it, and it is not cheap.
    from importlib import metadata  # noqa: PLC0415

    try:
        click.echo(f"consul-ebpf {metadata.version('consul-ebpf')}")
    except metadata.PackageNotFoundError:
        click.echo("consul-ebpf, run from its source: not installed")
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
    """Remove the programs and tables; connects to VIPs then fail at once."""
    pins = Pins(Path(config.kernel.bpffs))
    if not pins.root.is_dir():
        click.echo(f"nothing is pinned at {pins.root}")
        return
    with pins:
        pins.remove()
    click.echo(f"removed {pins.root}: nothing is redirected any more")


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--proxy", "proxy_id", required=True, help="The proxy service's ID.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@configured(serving=False)
def envoy(config: Config, proxy_id: str, arguments: tuple[str, ...]) -> None:
    """Become Envoy with a proxy's bootstrap; ARGUMENTS after -- go to Envoy."""
    proxy = Proxy(id=proxy_id, node="")
    check_proxy(proxy)
    bootstrap = BootstrapFiles(Path(config.bootstrap.directory)).bootstrap_path(proxy)
    if not bootstrap.is_file():
        raise ConsulEbpfError(
            f"{bootstrap} is not there: is proxy {proxy_id} configured, and does the "
            "controller (run) serve it?"
        )
    executable = config.envoy.executable
    try:
        os.execvp(executable, [executable, "-c", str(bootstrap), *arguments])  # noqa: S606
    except OSError as error:
        raise ConsulEbpfError(
            f"{executable} cannot be started ({error.strerror}): install Envoy, or "
            "name it in envoy.executable"
        ) from error


main.add_command(run)
main.add_command(status)
main.add_command(render)
main.add_command(doctor)
