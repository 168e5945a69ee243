"""Translates consul-dataplane's flags and variables to keys of our configuration.

dataplane.toml lists them. From it, the last table of two pages of the documentation is
made: `python -m consul_ebpf.config.dataplane docs/coming-from-consul-dataplane.md`, and
likewise docs/kubernetes-options.md.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from consul_ebpf.config.seeds import Command, Name, parse_seed
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import host_port

Keys = dict[str, Any]
"""Values by key of our configuration."""


Fate = Literal["volume", "envoy", "controller", "pod", "dropped", "skip", "left"]
"""What becomes of a flag in a pod; `FATES` has them in words."""


class Flag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of consul-dataplane's flags; dataplane.toml explains the fields."""

    pod: Fate
    pod_values: tuple[str, ...] = ()
    pod_note: str = ""
    env: str = ""
    json: str = ""
    key: str = ""
    kind: Literal["text", "number", "switch"] = "text"
    ours: str = ""
    note: str = ""
    commands: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """The name of what we have for it, in backticks; empty: there is nothing."""
        return self.ours or (self.key and f"`{self.key}`")


FLAGS = msgspec.toml.decode(
    Path(__file__).with_name("dataplane.toml").read_bytes(), type=dict[str, Flag]
)
"""All flags of consul-dataplane, by name without the dash."""

OF_ONE_PROXY = ("envoy", "wait", "stop", "render")
"""The commands that work on one proxy."""

ACCEPTED = {
    name: flag
    for name, flag in FLAGS.items()
    if flag.commands and flag.commands != OF_ONE_PROXY
}
"""The flags that our commands accept; their variables are read, too."""

FATES: dict[Fate, str] = {
    "volume": "goes to the node plugin, with the volume",
    "envoy": "becomes an argument of Envoy",
    "controller": "not needed: the controller's own `[consul]` counts",
    "pod": "changes the pod",
    "dropped": "dropped",
    "skip": "the pod is skipped",
    "left": "the container is left as it is",
}
"""What becomes of a flag in a pod, in words."""

META = "login-meta"
LEVELS = {"trace": "debug", "warn": "warning", "off": "error", "critical": "error"}


def refused(words: Iterable[str]) -> str:
    """Say what there is for the first flag of consul-dataplane that we do not accept.

    Empty: there is no such flag among the words.
    """
    for word in words:
        name = word.lstrip("-").partition("=")[0]
        flag = FLAGS.get(name)
        if flag is not None and not flag.commands and word.startswith("-"):
            ours = f"here that is {flag.named}" if flag.named else ""
            why = "; ".join(filter(None, (ours, flag.note)))
            return f"-{name}: {why.replace('`', '')}"
    return ""


def from_env(env: Mapping[str, str]) -> Keys:
    """Translate consul-dataplane's variables; an empty one counts as not set.

    Raises:
        ConfigError: a value is wrong. The error names its flag or variable; it does not
            repeat the value.
    """
    given: dict[str, str | list[str]] = {}
    for name, flag in ACCEPTED.items():
        if name == META:
            variables = [f"{flag.env}{n}" for n in range(1, 10)]
            if pairs := [env[each] for each in variables if env.get(each)]:
                given[META] = pairs
        elif value := env.get(flag.env):
            given[name] = value
    return to_keys(given, lambda flag: ACCEPTED[flag].env)


def to_keys(
    given: Mapping[str, str | list[str]], named: Callable[[str], str] = "-{}".format
) -> Keys:
    """Translate consul-dataplane's flags.

    Args:
        given: the flags' values; that of `login-meta` is a list.
        named: returns what an error is to call a flag.

    Raises:
        ConfigError: a value is wrong. The error names its flag or variable; it does not
            repeat the value.
    """
    keys: Keys = {}
    texts = {flag: str(value) for flag, value in given.items() if flag != META}
    for name, text in texts.items():
        if key := ACCEPTED[name].key:
            keys[key] = _value(ACCEPTED[name], text, named(name))
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
    if host and port not in {
        "",
        "0",
    }:  # as consul-dataplane does: with both, or not at all
        keys["envoy.ready"] = host_port(host, port)
    return keys


def _bound(texts: Mapping[str, str], what: str) -> tuple[str, str]:
    names = (f"envoy-{what}-bind-address", f"envoy-{what}-bind-port")
    host, port = (texts.get(name, "") for name in names)
    return host, port


def _value(flag: Flag, text: str, named: str) -> Any:
    if flag.kind == "switch":
        return _boolean(text, named)
    if flag.kind == "number":
        if not re.fullmatch("[0-9]{1,9}", text):
            raise ConfigError(f"{named}: must be a number")
        return int(text)
    return text


def _is_true(texts: Mapping[str, str], flag: str, named: Callable[[str], str]) -> bool:
    return flag in texts and _boolean(texts[flag], named(flag))


def _boolean(text: str, named: str) -> bool:
    value = to_boolean(text)
    if value is None:
        raise ConfigError(f"{named}: must be true or false")
    return value


def to_boolean(text: str) -> bool | None:
    """Read a switch's value as Go does; None: it is none."""
    if text in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    return False if text in {"0", "f", "F", "FALSE", "false", "False"} else None


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


def document(page: str, *, pods: bool = False) -> str:
    """Return the page with its last table, that of the flags, made anew.

    Args:
        page: the page as it is.
        pods: make the table of what becomes of the flags in a pod.
    """
    row, columns = (_pod_row, 3) if pods else (_row, 4)
    text, ruler, _ = page.rpartition(f"\n{'|---' * columns}|\n")
    return text + ruler + "".join(f"{row(*each)}\n" for each in FLAGS.items())


def _row(name: str, flag: Flag) -> str:
    taken = ", ".join(f"`{command}`" for command in flag.commands)
    ours = flag.named or "none"
    return f"| {_theirs(name, flag, flag.json)} | {ours} | {taken} | {flag.note} |"


def _pod_row(name: str, flag: Flag) -> str:
    values = [f"`{each}`" if each else "empty" for each in flag.pod_values]
    only = f"{' or '.join(values)}; any other value: the pod is skipped"
    note = "; ".join(filter(None, (flag.pod_note, only if values else "")))
    return f"| {_theirs(name, flag)} | {FATES[flag.pod]} | {note} |"


def _theirs(name: str, flag: Flag, *more: str) -> str:
    names = [f"`{each}`" for each in (f"-{name}", flag.env, *more) if each]
    return "<br>".join(names)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    pods = path.name == "kubernetes-options.md"
    path.write_text(document(path.read_text(), pods=pods))
