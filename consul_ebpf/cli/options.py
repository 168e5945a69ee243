"""The options every command takes, and what becomes of them: a `Config`."""

import functools
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from consul_ebpf._errors import ConfigError
from consul_ebpf.config import dataplane
from consul_ebpf.config.load import load


def configured(*, serving: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config` and `--set`, and call it with the loaded `Config`.

    `serving` says that the command needs all that is configured to be carried out;
    others only look at or remove what is there.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--config",
            "path",
            type=click.Path(path_type=Path),
            help="TOML file; default: $CONSUL_EBPF_CONFIG, else built-in defaults.",
        )
        @click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override one key, like kernel.cgroup=/sys/fs/cgroup/x; repeatable.",
        )
        @functools.wraps(command)
        def wrapper(
            *, path: Path | None, settings: tuple[str, ...], **rest: Any
        ) -> Any:
            theirs = {
                flag: rest.pop(name)
                for flag, name in DATAPLANE_NAMES.items()
                if rest.get(name) is not None
            }
            theirs = {flag: given for flag, given in theirs.items() if given != ()}
            for name in DATAPLANE_NAMES.values():
                rest.pop(name, None)
            overrides = {
                **dataplane.to_keys(theirs),
                **dict(_parse(setting) for setting in settings),
            }
            config = load(path, os.environ, overrides, serving=serving)
            return command(config=config, **rest)

        return wrapper

    return decorate


DATAPLANE_NAMES = {flag: f"dp_{flag.replace('-', '_')}" for flag in dataplane.ACCEPTED}
"""consul-dataplane's flags, and the names of the arguments that hold them."""


def consul_dataplanes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command those of consul-dataplane's flags that mean the same here."""
    for flag, row in reversed(dataplane.ACCEPTED.items()):
        kind: dict[str, Any] = {}
        if row.boolean:
            kind = {"is_flag": False, "flag_value": "true"}
        elif flag == dataplane.META:
            kind = {"multiple": True}
        command = click.option(
            f"--{flag}",
            f"-{flag}",
            DATAPLANE_NAMES[flag],
            metavar="BOOL" if row.boolean else "VALUE",
            help=f"As consul-dataplane's: {row.ours.replace('`', '')}.",
            **kind,
        )(command)
    return command


def _parse(setting: str) -> tuple[str, Any]:
    """Read `key=value`; a value that is no TOML is taken as a string."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(
            f"--set {setting}: write KEY=VALUE, like kernel.vip_port=8502"
        )
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value
    return key, table["value"] if len(table) == 1 else value
