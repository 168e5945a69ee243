"""The command line: the only place that reads arguments, prints and exits.

A command's module imports all that it needs, and is itself imported when somebody runs
the command. So `envoy` and `status` do not import gRPC, nor `run` what `doctor` needs.
"""

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from consul_ebpf.base.version import installed_version
from consul_ebpf.cli import logs
from consul_ebpf.cli.output import say
from consul_ebpf.config import dataplane
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError

COMMAND_MODULES = {
    "detach": "detaching",
    "doctor": "doctor",
    "envoy": "envoys",
    "render": "rendering",
    "run": "serve",
    "status": "show",
    "stop": "stopping",
    "top": "top",
    "wait": "envoys",
    "webhook": "webhook",
}
"""The module of each command; the command is the function of that name in it."""

EXIT_CODES = """
Exit codes: 0 done; 2 bad configuration; 3 a privilege or kernel feature is missing;
4 another controller holds the host; 1 anything else.
"""


class _Commands(click.Group):
    """Finds a command's module, and turns our errors into one line and an exit code."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMAND_MODULES)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None: there is no such command."""
        if cmd_name not in COMMAND_MODULES:
            return None
        module = importlib.import_module(f"{__name__}.{COMMAND_MODULES[cmd_name]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  # for the type checker
        return command

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        """Complete commands by their names: no module is imported for that."""
        names = [each for each in COMMAND_MODULES if each.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*map(CompletionItem, names), *options]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Keep the words, for the error message if one of them is wrong."""
        ctx.meta["words"] = list(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours ends the process with its exit code."""
        logs.set_up_commands()
        try:
            return super().invoke(ctx)
        except click.NoSuchOption:
            # For a flag of consul-dataplane, say what to write instead.
            why = dataplane.refused(ctx.meta["words"])
            if not why:
                raise
            say(f"consul-ebpf: {why}", err=True)
            sys.exit(ConfigError.exit_code)
        except ConsulEbpfError as error:
            say(f"consul-ebpf: {error}", err=True)
            sys.exit(error.exit_code)


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        version = installed_version()
        say(f"consul-ebpf {version or '(not installed: run from its source)'}")
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
