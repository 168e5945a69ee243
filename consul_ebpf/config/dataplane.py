"""What consul-dataplane's flags and variables mean here, where they mean the same."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from consul_ebpf.config.dataplane_table import OF_ONE_PROXY, ROWS
from consul_ebpf.config.seeds import Command, Name, parse_seed
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import host_port

Keys = dict[str, Any]
"""Our configuration's keys to values."""


ACCEPTED = {
    row.flag: row for row in ROWS if row.commands and row.commands != OF_ONE_PROXY
}
"""By flag; their variables are taken, too."""

META = "login-meta"
LEVELS = {"trace": "debug", "warn": "warning", "off": "error", "critical": "error"}

_PLAIN = {
    "grpc-port": "consul.grpc_port",
    "credential-type": "consul.credentials.type",
    "static-token": "consul.credentials.token",
    "login-auth-method": "consul.credentials.auth_method",
    "login-namespace": "consul.credentials.namespace",
    "login-partition": "consul.credentials.partition",
    "login-datacenter": "consul.credentials.datacenter",
    "login-bearer-token": "consul.credentials.bearer_token",
    "login-bearer-token-path": "consul.credentials.bearer_token_file",
    "tls-disabled": "consul.tls.disabled",
    "ca-certs": "consul.tls.ca_certs",
    "tls-cert": "consul.tls.cert",
    "tls-key": "consul.tls.key",
    "tls-server-name": "consul.tls.server_name",
    "tls-insecure-skip-verify": "consul.tls.insecure_skip_verify",
    "envoy-concurrency": "envoy.concurrency",
    "envoy-drain-time-seconds": "envoy.drain_time",
    "envoy-drain-strategy": "envoy.drain_strategy",
    "envoy-executable-path": "envoy.executable",
    "shutdown-drain-listeners": "envoy.shutdown_drain_listeners",
    "shutdown-grace-period-seconds": "envoy.shutdown_grace_period",
    "dump-envoy-config-on-exit": "envoy.dump_config_on_exit",
    "telemetry-use-central-config": "telemetry.use_central_config",
    "telemetry-prom-ca-certs-path": "telemetry.prometheus.ca_certs",
    "telemetry-prom-cert-file": "telemetry.prometheus.cert",
    "telemetry-prom-key-file": "telemetry.prometheus.key",
    "telemetry-prom-scrape-path": "telemetry.prometheus.scrape_path",
}
"""Flags whose value goes to one key as it is."""

_NUMBERS = {
    "grpc-port",
    "envoy-concurrency",
    "envoy-drain-time-seconds",
    "shutdown-grace-period-seconds",
}


def refused(words: Iterable[str]) -> str:
    """Say why the first of consul-dataplane's flags that is not taken is not."""
    rows = {row.flag: row for row in ROWS if not row.commands}
    for word in words:
        row = rows.get(word.lstrip("-").partition("=")[0])
        if row is not None and word.startswith("-"):
            ours = f"here that is {row.ours.replace('`', '')}" if row.ours else ""
            note = row.note.replace("`", "")
            return f"-{row.flag}: {'; '.join(filter(None, (ours, note)))}"
    return ""


def from_env(env: Mapping[str, str]) -> Keys:
    """Return what consul-dataplane's variables mean; empty ones are not set.

    Raises:
        ConfigError: a value is none; named, and not repeated.
    """
    given: dict[str, str | list[str]] = {}
    for row in ACCEPTED.values():
        if row.flag == META:
            names = [f"{row.env}{n}" for n in range(1, 10)]
            if pairs := [env[name] for name in names if env.get(name)]:
                given[META] = pairs
        elif value := env.get(row.env):
            given[row.flag] = value
    return to_keys(given, lambda flag: ACCEPTED[flag].env)


def to_keys(
    given: Mapping[str, str | list[str]], named: Callable[[str], str] = "-{}".format
) -> Keys:
    """Return what consul-dataplane's flags mean.

    Args:
        given: flag to value; `login-meta` to a list of them.
        named: names a flag in an error.

    Raises:
        ConfigError: a value is none; named, and not repeated.
    """
    keys: Keys = {}
    texts = {flag: str(value) for flag, value in given.items() if flag != META}
    for flag, text in texts.items():
        if flag in _PLAIN:
            keys[_PLAIN[flag]] = _value(flag, text, named(flag))
    if META in given:
        keys["consul.credentials.meta"] = _pairs(given[META], named(META))
    if "log-level" in texts:
        level = texts["log-level"].lower()
        keys["log.level"] = LEVELS.get(level, level)
    if "log-json" in texts:
        keys["log.format"] = "json" if _is_true(texts, "log-json", named) else "text"
    if "addresses" in texts:
        unwatched = _is_true(texts, "server-watch-disabled", named)
        keys["consul.addresses"] = [texts["addresses"]]
        keys["consul.source"] = _source(texts["addresses"]) if unwatched else "watch"
    host, port = _bound(texts, "admin")
    if host or port:
        keys["envoy.admin"] = host_port(host or "127.0.0.1", port or "19000")
    host, port = _bound(texts, "ready")
    if host and port not in {"", "0"}:  # as there: with both, or not at all
        keys["envoy.ready"] = host_port(host, port)
    return keys


def _bound(texts: Mapping[str, str], what: str) -> tuple[str, str]:
    names = (f"envoy-{what}-bind-address", f"envoy-{what}-bind-port")
    host, port = (texts.get(name, "") for name in names)
    return host, port


def _value(flag: str, text: str, named: str) -> Any:
    if ACCEPTED[flag].boolean:
        return _boolean(text, named)
    if flag in _NUMBERS:
        if not re.fullmatch("[0-9]{1,9}", text):
            raise ConfigError(f"{named}: must be a number")
        return int(text)
    return text


def _is_true(texts: Mapping[str, str], flag: str, named: Callable[[str], str]) -> bool:
    return flag in texts and _boolean(texts[flag], named(flag))


def _boolean(text: str, named: str) -> bool:
    if text in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if text in {"0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise ConfigError(f"{named}: must be true or false")


def _pairs(texts: str | list[str], named: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"{named}: write it like key=value")
        pairs[key] = value
    return pairs


def _source(address: str) -> str:
    seed = parse_seed(address, 8502)
    if isinstance(seed, Command):
        return "exec"
    return "dns" if isinstance(seed, Name) else "static"


def document() -> str:
    """Return docs/coming-from-consul-dataplane.md."""
    # Imported here: a page of text that only this needs.
    from consul_ebpf.config.coming import INTRODUCTION  # noqa: PLC0415

    lines = [INTRODUCTION]
    for row in ROWS:
        names = [f"`-{row.flag}`"]
        if row.env:
            names.append(f"`{row.env}`")
        if row.json:
            names.append(f"`{row.json}`")
        taken = ", ".join(f"`{command}`" for command in row.commands)
        ours = row.ours or "none"
        lines.append(f"| {'<br>'.join(names)} | {ours} | {taken} | {row.note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())
