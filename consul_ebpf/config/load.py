"""Loads the configuration from its file, the environment and flags, and checks it.

In this order, where the later overrides the earlier: defaults, the file,
consul-dataplane's `DP_*`, Consul's own variables, flags.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from consul_ebpf.config import dataplane
from consul_ebpf.config.checks import check, check_available
from consul_ebpf.config.decoding import convert, parse
from consul_ebpf.config.kubernetes import with_node_name
from consul_ebpf.config.schema import Config
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.model.names import shown

MAX_BYTES = 64 * 1024 * 1024
"""Of a configuration: with 65,536 proxies it has some 20 MB."""

DEFAULT_HTTP_ADDRESS = "http://127.0.0.1:8500"

HTTPS_VARIABLES = {
    "CONSUL_CACERT": "consul.tls.ca_certs",
    "CONSUL_CAPATH": "consul.tls.ca_certs",
    "CONSUL_CLIENT_CERT": "consul.tls.cert",
    "CONSUL_CLIENT_KEY": "consul.tls.key",
    "CONSUL_TLS_SERVER_NAME": "consul.tls.http_server_name",
}
"""Our keys by Consul's own variables; of two for one key, the first wins."""


def load(
    path: Path | None,
    env: Mapping[str, str],
    overrides: Mapping[str, Any] = MappingProxyType({}),
    *,
    serving: bool = True,
) -> Config:
    """Read and check the whole configuration.

    Args:
        path: the file; None: `$CONSUL_EBPF_CONFIG`, and without that no file.
        env: the process's environment.
        overrides: values from the command line by key, like
            `{"kernel.cgroup": "/x"}`; one that is None was not given.
        serving: refuse a configuration that could not be served, too. Commands that
            only look at or remove what is there say False.

    Raises:
        ConfigError: one line: the file, variable or flag, the key, and what to do.
    """
    file = path or _named(env)
    config = Config() if file is None else parse(_read(file), Config, str(file))
    return complete(config, env, overrides, str(file or "default"), serving=serving)


def complete(
    config: Config,
    env: Mapping[str, str],
    overrides: Mapping[str, Any],
    where: str,
    *,
    serving: bool = True,
) -> Config:
    """Apply environment and flags to a file's configuration, and check the result.

    Raises:
        ConfigError: as for `load`.
    """
    origins = {}
    for origin, key, value in _changes(env, overrides):
        config = _replace(config, key, value, origin)
        origins[key] = origin
    try:
        config = _with_urls(config, env, serving=serving)
        config = with_node_name(config, env)
        check(config)
        if serving:
            check_available(config)
            _refuse_unused(env)
    except ConfigError as error:
        wrong = str(error)
        for key, origin in origins.items():
            if wrong.startswith(key):
                where = origin
        raise ConfigError(f"{where}: {wrong}") from None
    return config


def _named(env: Mapping[str, str]) -> Path | None:
    name = env.get("CONSUL_EBPF_CONFIG")
    return Path(name) if name else None


def _read(file: Path) -> bytes:
    try:
        # Whoever names it may name a pipe, as a shell's <(...) is one.
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; set --config or $CONSUL_EBPF_CONFIG to a"
            " file that can be read"
        ) from None
    except ValueError:
        raise ConfigError(f"{str(file)!a}: not a path") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{file}: is larger than {MAX_BYTES} bytes; set --config or"
            " $CONSUL_EBPF_CONFIG to a configuration"
        )
    return data


def _changes(
    env: Mapping[str, str], overrides: Mapping[str, Any]
) -> Iterator[tuple[str, str, Any]]:
    """Yield (origin, key, value) in the order in which to apply them."""
    for key, value in dataplane.from_env(env).items():
        yield "DP_*", key, value
    if address := env.get("CONSUL_HTTP_ADDR"):
        yield "CONSUL_HTTP_ADDR", "consul.http_addresses", [address]
    seen = set()
    for name, key in HTTPS_VARIABLES.items():
        if (value := env.get(name)) and key not in seen:
            seen.add(key)
            yield name, key, value
    # With both, the file wins, as in Consul's own commands.
    for name, key in {
        "CONSUL_HTTP_TOKEN_FILE": "token_file",
        "CONSUL_HTTP_TOKEN": "token",
    }.items():
        if value := env.get(name):
            yield name, "consul.credentials", {"type": "static", key: value}
            break
    for key, value in overrides.items():
        if value is not None:
            yield "--set", key, value


def _replace(config: Config, key: str, value: Any, origin: str) -> Config:
    """Return a copy with one key set, checked like a key of the file."""
    table = msgspec.to_builtins(config)
    *path, leaf = key.split(".")
    inner = table
    for step in path:
        inner = inner.setdefault(step, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: {key!a}: {step!a} has no keys; set it whole")
    inner[leaf] = value
    return convert(table, Config, origin)


def _with_urls(config: Config, env: Mapping[str, str], *, serving: bool) -> Config:
    """Complete each HTTP address to a URL; with `CONSUL_HTTP_SSL`, to an https one.

    Only the catalog source has a default address. For another source it would send
    tokens to an address that nobody configured.
    """
    consul = config.consul
    https = _is_true(env, "CONSUL_HTTP_SSL")
    default = [DEFAULT_HTTP_ADDRESS] if consul.source == "catalog" else []
    urls = []
    for index, text in enumerate(consul.http_addresses or default):
        key = f"consul.http_addresses[{index}]"
        try:
            address = HttpAddress.parse(text, https=https)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from None
        said = "://" in text or env.get("CONSUL_HTTP_SSL")
        if serving and not (said or address.here or consul.tls.disabled):
            raise ConfigError(
                f"{key}: {shown(text)} is on another host, where tokens would go in"
                " plaintext although consul.tls is on; write https:// or http:// before"
                " it"
            )
        urls.append(str(address))
    consul = msgspec.structs.replace(consul, http_addresses=urls)
    return msgspec.structs.replace(config, consul=consul)


def _is_true(env: Mapping[str, str], name: str) -> bool:
    """Read a boolean as Consul's own commands do."""
    value = env.get(name, "")
    if value in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if value in {"", "0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise ConfigError(f"{name}: must be true or false")


def _refuse_unused(env: Mapping[str, str]) -> None:
    """Refuse variables of Consul that have no effect here."""
    if env.get("CONSUL_HTTP_AUTH"):
        raise ConfigError("CONSUL_HTTP_AUTH is not supported; unset it")
    if env.get("CONSUL_HTTP_SSL_VERIFY") and not _is_true(
        env, "CONSUL_HTTP_SSL_VERIFY"
    ):
        raise ConfigError(
            "CONSUL_HTTP_SSL_VERIFY: unset it; consul.tls.insecure_skip_verify = true"
            " leaves certificates unverified, for HTTP and gRPC"
        )
