"""The options every command takes, and what becomes of them: a `Config`."""

import functools
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from consul_ebpf._errors import ConfigError
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
            overrides = dict(_parse(setting) for setting in settings)
            config = load(path, os.environ, overrides, serving=serving)
            return command(config=config, **rest)

        return wrapper

    return decorate


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
