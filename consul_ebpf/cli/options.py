"""The options that commands share, and the `Config` that is loaded from them."""

import functools
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from consul_ebpf.base.reading import FileError, read_file
from consul_ebpf.config import dataplane
from consul_ebpf.config.load import load
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import check_proxy
from consul_ebpf.model.values import Proxy


def configured(*, serving: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config` and `--set`, and call it with the loaded `Config`.

    Args:
        serving: refuse a configuration that could not be served. Commands that only
            look at or remove what is there say False.
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
            given = {f: rest.pop(name, None) for f, name in DATAPLANE_NAMES.items()}
            theirs = {f: value for f, value in given.items() if value not in {None, ()}}
            overrides = {
                **dataplane.to_keys(theirs),
                **dict(_parse(setting) for setting in settings),
            }
            config = load(path, os.environ, overrides, serving=serving)
            return command(config=config, **rest)

        return wrapper

    return decorate


def for_proxy(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--proxy`, and consul-dataplane's options for the same.

    The command is called with a `proxy_id` that was checked.
    """

    @click.option(
        "--proxy",
        "--proxy-id",
        "-proxy-id",
        "proxy_id",
        envvar="DP_PROXY_ID",
        help="The proxy service's ID; also $DP_PROXY_ID.",
    )
    @click.option(
        "--proxy-id-path",
        "-proxy-id-path",
        "proxy_id_path",
        type=click.Path(path_type=Path),
        envvar="DP_PROXY_ID_PATH",
        help="A file that holds it, if --proxy is not given; also $DP_PROXY_ID_PATH.",
    )
    @functools.wraps(command)
    def wrapper(
        *, proxy_id: str | None, proxy_id_path: Path | None, **rest: Any
    ) -> Any:
        if proxy_id is None and proxy_id_path is not None:
            proxy_id = _read_id(proxy_id_path)
        if proxy_id is None:
            raise click.UsageError("Missing option '--proxy'.")
        check_proxy(Proxy(id=proxy_id, node=""))
        return command(proxy_id=proxy_id, **rest)

    return wrapper


MAX_ID_BYTES = 4096
"""Of a file with a proxy's id, which a pod may write."""


def _read_id(path: Path) -> str:
    try:
        return read_file(path, MAX_ID_BYTES).data.decode().strip()
    except FileError as error:
        raise ConfigError(f"--proxy-id-path {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--proxy-id-path {path}: not UTF-8") from None


DATAPLANE_NAMES = {flag: f"dp_{flag.replace('-', '_')}" for flag in dataplane.ACCEPTED}
"""The name of the argument that holds each of consul-dataplane's flags."""


def consul_dataplanes(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give the command `name` those of consul-dataplane's flags that it carries out."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for theirs, flag in reversed(dataplane.ACCEPTED.items()):
            if name not in flag.commands:
                continue
            kind: dict[str, Any] = {}
            if flag.kind == "switch":
                kind = {"is_flag": False, "flag_value": "true"}
            elif theirs == dataplane.META:
                kind = {"multiple": True}
            command = click.option(
                f"--{theirs}",
                f"-{theirs}",
                DATAPLANE_NAMES[theirs],
                metavar="BOOL" if flag.kind == "switch" else "VALUE",
                help=f"As consul-dataplane's: {flag.named.replace('`', '')}.",
                **kind,
            )(command)
        return command

    return decorate


def _parse(setting: str) -> tuple[str, Any]:
    """Read `key=value`; a value that is not TOML is a string."""
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
