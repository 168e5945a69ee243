"""`envoy` and `wait`: start an Envoy once it can start, and wait until it is served."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from consul_ebpf.base.lines import one_line
from consul_ebpf.cli import client
from consul_ebpf.cli.options import configured, consul_dataplanes, for_proxy
from consul_ebpf.cli.output import say
from consul_ebpf.config.schema import Config
from consul_ebpf.envoy.command_line import named, without
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.views.proxies import Condition, left_behind
from consul_ebpf.wiring.files import api_socket, bootstrap_left_for, gatherer

SAY_SECONDS = 5.0
"""Seconds between two lines that say what the command waits for."""

LOOK_SECONDS = 0.2
"""Seconds between two looks while no controller answers."""


@click.command(context_settings={"ignore_unknown_options": True})
@for_proxy
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(0),
    help="Seconds; default: envoy.wait in the file.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@consul_dataplanes("envoy")
@configured(serving=False)
def envoy(
    config: Config, proxy_id: str, seconds: float | None, arguments: tuple[str, ...]
) -> None:
    """Become Envoy with a proxy's bootstrap; ARGUMENTS after -- go to Envoy.

    Waits for the bootstrap, and says what is still missing.
    """
    bootstrap = client.find_bootstrap(config, proxy_id)
    if not _is_there(bootstrap):
        _wait(config, proxy_id, Condition.BOOTSTRAP, seconds)
        bootstrap = client.find_bootstrap(config, proxy_id)
    executable = config.envoy.executable
    argv = [executable, "-c", str(bootstrap), *options(config, arguments), *arguments]
    if config.consul.tls.cert and tells_keys(argv):
        say(
            "warning: at this log level Envoy writes the private key of consul.tls.cert"
            " to its log; keep that log to yourself",
            err=True,
        )
    sys.stdout.flush()
    try:
        os.execvp(executable, argv)  # noqa: S606  # nothing of ours stays
    except OSError as error:
        raise ConsulEbpfError(
            f"{executable} cannot be started ({error.strerror}): install Envoy, or "
            "name it in envoy.executable"
        ) from error


@click.command()
@for_proxy
@click.option(
    "--for",
    "condition",
    type=click.Choice([each.value for each in Condition]),
    default=Condition.CONNECTED.value,
    show_default=True,
    help="What to wait for.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0),
    help="Seconds; default: envoy.wait in the file.",
)
@configured(serving=False)
def wait(config: Config, proxy_id: str, condition: str, seconds: float | None) -> None:
    """Wait until a proxy is programmed, has its bootstrap, or is connected."""
    _wait(config, proxy_id, Condition(condition), seconds)


def tells_keys(argv: Sequence[str]) -> bool:
    """Whether this Envoy logs the content of its TLS files, so also the private key.

    A bootstrap that names the key's file would avoid that, but needs one more inotify
    instance for each Envoy.
    """
    # The level is a word of its own, a part of its option, or one component's.
    levels = " ".join(argv[2:]).replace("=", " ").replace(":", " ").replace(",", " ")
    return not {"debug", "trace", "-ldebug", "-ltrace"}.isdisjoint(levels.split())


def options(config: Config, given: Sequence[str]) -> list[str]:
    """Return the options that consul-dataplane gives Envoy, without those in `given`.

    Envoy refuses an option that comes twice.
    """
    envoy = config.envoy
    ours = {
        "--concurrency": str(envoy.concurrency),
        "--drain-time-s": str(envoy.drain_time),
        "--drain-strategy": envoy.drain_strategy,
        "--log-level": config.log.level,
        "--disable-hot-restart": "",
    }
    if named(given) & {"--restart-epoch", "--base-id", "--use-dynamic-base-id"}:
        del ours["--disable-hot-restart"]
    return without(ours, given)


def _wait(
    config: Config, proxy_id: str, condition: Condition, seconds: float | None
) -> None:
    """Return when the condition holds.

    Raises:
        ConsulEbpfError: it does not hold in time; the error says what is missing.
    """
    patience = config.envoy.wait if seconds is None else seconds
    deadline = time.monotonic() + patience
    said = time.monotonic()
    while True:
        left = deadline - time.monotonic()
        holds, why = _look(config, proxy_id, condition, max(0.0, min(left, 1.0)))
        if holds:
            return
        if not time.monotonic() < deadline:  # not `>=`: with nan it would never end
            raise ConsulEbpfError(
                f"proxy {proxy_id} is not there after {patience:g} s ({condition}):"
                f" {why}"
            )
        if time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            say(f"consul-ebpf: waiting for proxy {proxy_id}: {why}", err=True)


def _look(
    config: Config, proxy_id: str, condition: Condition, seconds: float
) -> tuple[bool, str]:
    """Ask the controller, or look at what it left if it is gone; within `seconds`."""
    path = api_socket(config)
    try:
        status, answer = client.proxy(path, proxy_id, condition, seconds)
    except OSError as error:
        time.sleep(min(seconds, LOOK_SECONDS))
        why = f"no controller answers at {path} ({error.strerror or error})"
        return _left_behind(config, proxy_id, condition), why
    if status == 200 and answer.get(condition):
        return True, ""
    if status != 504:  # it answered at once: it is busy, or just starting
        time.sleep(min(seconds, LOOK_SECONDS))
    return False, one_line(answer.get("error", f"HTTP {status} at {path}"))


def _left_behind(config: Config, proxy_id: str, condition: Condition) -> bool:
    """Whether the condition holds, as the kernel's tables and the files say."""
    if condition is Condition.BOOTSTRAP:
        return _is_there(bootstrap_left_for(config, proxy_id))
    try:
        seen = left_behind(gatherer(config).take(), proxy_id)
    except ConsulEbpfError:
        return False
    return seen is not None and seen.holds(condition)


def _is_there(bootstrap: Path) -> bool:
    try:
        return bootstrap.is_file()
    except OSError as error:
        raise ConsulEbpfError(
            f"{bootstrap}: {error.strerror}: run this as root or as the user of"
            " bootstrap.owner"
        ) from error
