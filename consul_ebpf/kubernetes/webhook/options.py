"""consul-dataplane's options in a container, and what becomes of them in a pod. Pure.

`config/dataplane.toml` says of each option what becomes of it; here it is carried out
for options as they are written in a pod: flags in Go's syntax, and variables.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from consul_ebpf.config.dataplane import FLAGS, META, to_boolean
from consul_ebpf.envoy.command_line import named, without
from consul_ebpf.kubernetes.attributes import Value
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.kubernetes.webhook.variables import POD_IP, Known, expanded, left_over
from consul_ebpf.model.names import shown

ID_PATHS = ("proxy-id-path", "proxy-service-id-path")
"""The options that make a container a proxy's."""

READY_ADDRESS = "envoy-ready-bind-address"
ADMIN_ADDRESS = "envoy-admin-bind-address"

LOG_FORMAT = (
    '{"@timestamp":"%Y-%m-%dT%T.%f%z","@level":"%l","@module":"envoy.%n",'
    '"@message":"%j","thread":%t}'
)
"""Of Envoy's lines with -log-json, with the keys of consul-dataplane's."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_OLD = re.compile(r"proxy-service-|service-")
"""How the names begin that count only where none of -proxy-… is given."""

_METRICS = "telemetry-prom-"
_SECRETS = {"static-token", "login-bearer-token"}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one container."""

    values: Mapping[str, str]
    """By name without dashes, with variables put in; of those that have a fate here."""
    meta: tuple[str, ...]
    extra: tuple[str, ...]
    """What follows the options: words for Envoy, as they are written."""

    @property
    def is_proxy(self) -> bool:
        """Whether it runs a proxy, and does not only print something."""
        left = (name for name, flag in FLAGS.items() if flag.pod == "left")
        return not any(self.switch(name) for name in left)

    @property
    def id_path(self) -> str:
        """The file with the proxy's ID."""
        return self.text(*ID_PATHS)

    def text(self, *names: str) -> str:
        """Return the first value that is not empty; empty: there is none."""
        return next((v for v in map(self.values.get, names) if v), "")

    def number(self, name: str, default: int) -> int:
        """Return a number."""
        return int(self.values.get(name) or default)

    def switch(self, name: str) -> bool:
        """Whether a switch that is off by default is on."""
        return to_boolean(self.values.get(name, "")) or False

    def for_volume(self) -> dict[str, Value]:
        """Return what the node plugin is told: by name, as consul-dataplane has it."""
        told: dict[str, Value] = {
            name: self._of_pod(name, value)
            for name, value in self.values.items()
            if FLAGS[name].pod == "volume" and value
        }
        if POD_IP in self.values.get(READY_ADDRESS, ""):
            six = ":" in self.values.get(ADMIN_ADDRESS, "")
            told[READY_ADDRESS] = "::" if six else "0.0.0.0"  # noqa: S104
        if self.meta:
            told[META] = tuple(self._of_pod(META, each) for each in self.meta)
        return told

    def for_envoy(self, bootstrap: str) -> list[str]:
        """Return Envoy's arguments.

        Raises:
            SkipError: those after `--` take another bootstrap.
        """
        if "--config-path" in named(self.extra):
            raise SkipError(Reason.OPTION, "after -- it names a bootstrap of its own")
        level = (self.text("log-level") or "info").lower()
        ours = {
            "--config-path": bootstrap,
            "--disable-hot-restart": "",
            "--concurrency": str(self.number("envoy-concurrency", 2)),
            "--drain-time-s": str(self.number("envoy-drain-time-seconds", 30)),
            "--drain-strategy": self.text("envoy-drain-strategy") or "immediate",
            "--log-level": "warning" if level == "warn" else level,
        }
        if self.switch("log-json"):
            ours["--log-format"] = LOG_FORMAT
        return [*without(ours, self.extra), *self.extra]

    def _of_pod(self, name: str, value: str) -> str:
        """Check that whoever reads the value can fill in what is left open in it."""
        if name != READY_ADDRESS and POD_IP in value:
            raise SkipError(Reason.OPTION, f"-{name} holds the pod's IP address")
        if reference := left_over(value):
            what = f"-{name} refers to {shown(reference)}, which the container has not"
            raise SkipError(Reason.OPTION, what)
        if FLAGS[name].kind == "switch":
            return "true" if to_boolean(value) else "false"
        return value


def holds_id_path(words: Iterable[str], variables: Iterable[str]) -> bool:
    """Whether a container is one of consul-dataplane with a proxy: by its content."""
    for word in words:
        if word == "--":
            break
        if _name_of(word) in ID_PATHS:
            return True
    return any(FLAGS[name].env in variables for name in ID_PATHS)


def options_of(words: Iterable[str], variables: Known) -> Options:
    """Read a container's options.

    Args:
        words: its command line without the program, not expanded.
        variables: its environment; see `known`.

    Raises:
        SkipError: one is not understood, or its fate is that the pod is skipped.
    """
    rest = list(words)
    given, meta = _from_variables(variables)
    for name, text in _flags(rest, variables):
        if name == META:
            meta.append(_known(text, f"-{name}"))
        else:
            given[name] = text
    if any(name.startswith("proxy-") and not _OLD.match(name) for name in given):
        given = {name: text for name, text in given.items() if not _OLD.match(name)}
    values = {}
    for name, text in given.items():
        flag = FLAGS[name]
        if flag.pod == "skip":
            raise SkipError(_reason(name), f"-{name}: {flag.pod_note}")
        if flag.pod in {"volume", "envoy", "pod", "left"} or flag.pod_values:
            _check(name, _known(text, f"-{name}"))
        if text is not None:
            values[name] = text
    return Options(values, _pairs(meta), (*rest,))


def _pairs(texts: list[str]) -> tuple[str, ...]:
    """Return `key=value`, each key once: the last one counts."""
    if not all("=" in each for each in texts):
        raise SkipError(Reason.OPTION, f"-{META}: not like key=value")
    pairs = dict(each.split("=", 1) for each in texts)
    return tuple("=".join(each) for each in pairs.items())


def _from_variables(variables: Known) -> tuple[dict[str, str | None], list[str]]:
    """Return what variables give; an empty one is not set."""
    given = {
        name: variables[flag.env]
        for name, flag in FLAGS.items()
        if flag.env and name != META and variables.get(flag.env, "") != ""
    }
    names = [FLAGS[META].env, *(f"{FLAGS[META].env}{n}" for n in range(1, 10))]
    meta = [_known(variables[n], n) for n in names if variables.get(n, "") != ""]
    return given, meta


def _flags(words: list[str], variables: Known) -> Iterator[tuple[str, str | None]]:
    """Take flags from the front of the words, as Go does, and leave the rest there.

    Yields:
        the name and the value; None: it is not known.

    Raises:
        SkipError: one that Go would refuse, or that no consul-dataplane has.
    """
    while words:
        word = expanded(words[0], variables)
        name, equals, text = (word or words[0]).partition("=")
        if not name.startswith("-") or name == "-":
            return
        words.pop(0)
        if name == "--":
            return
        name = _name_of(name)
        flag = FLAGS.get(name)
        if flag is None:
            what = f"unknown option -{shown(name)[1:-1]}"
            raise SkipError(Reason.OPTION, what)
        value: str | None = text if word is not None else None
        if not equals and flag.kind == "switch":
            value = "true"
        elif not equals:
            if not words:
                raise SkipError(Reason.OPTION, f"-{name} has no value")
            value = expanded(words.pop(0), variables)
        yield name, value


def _name_of(word: str) -> str:
    """Return the flag that a word names; empty: it is no flag."""
    if not word.startswith("-"):
        return ""
    return word[2 if word.startswith("--") else 1 :].partition("=")[0]


def _known(text: str | None, named: str) -> str:
    if text is None:
        what = f"{named}: its value comes from a Secret, a ConfigMap or the like"
        raise SkipError(Reason.SECRET, what)
    return text


def _check(name: str, text: str) -> None:
    flag = FLAGS[name]
    if flag.kind == "number" and not _NUMBER.fullmatch(text):
        raise SkipError(Reason.OPTION, f"-{name}: not a number")
    if flag.kind == "switch" and to_boolean(text) is None:
        raise SkipError(Reason.OPTION, f"-{name}: neither true nor false")
    plain = str(int(text)) if flag.kind == "number" else text
    if name == "log-level":
        plain = text.lower()
    if flag.pod_values and plain not in flag.pod_values:
        raise SkipError(Reason.OPTION, f"-{name} is {shown(text)}")


def _reason(name: str) -> Reason:
    if name in _SECRETS:
        return Reason.SECRET
    return Reason.METRICS if name.startswith(_METRICS) else Reason.OPTION
