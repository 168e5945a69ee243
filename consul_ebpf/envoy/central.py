"""Central configuration: the `envoy_*` keys of proxy-defaults and service-defaults.

Only the keys that concern Envoy's bootstrap are read; Consul carries out the others
over xDS. People write them by hand, for all proxies at once. So a value that cannot be
used is left out, with a note, and the others are used. Only if a text must be JSON and
is not, or is a template of a whole bootstrap, it is unclear what was meant: then no new
bootstrap is made.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from consul_ebpf.envoy.notes import WHERE, Notes
from consul_ebpf.envoy.parts import Part
from consul_ebpf.envoy.raw_json import NotJsonError, UnusableError, decode, unfit
from consul_ebpf.model.errors import InvalidProxyError

TEMPLATE = "envoy_bootstrap_json_tpl"
KEYS = (
    "envoy_statsd_url",
    "envoy_dogstatsd_url",
    "envoy_stats_tags",
    "envoy_telemetry_collector_bind_socket_dir",
    "envoy_prometheus_bind_addr",
    "envoy_stats_bind_addr",
    TEMPLATE,
    "envoy_extra_static_clusters_json",
    "envoy_extra_static_listeners_json",
    "envoy_extra_stats_sinks_json",
    "envoy_stats_config_json",
    "envoy_stats_flush_interval",
    "envoy_tracing_json",
)


class Central:
    """Reads the keys as consul-dataplane does.

    A key that is null, empty or missing is not set. Where a text is expected, a number
    or a truth value stands for its text; where a list is, one value stands for a list
    of one. Keys are compared without regard to case.

    Args:
        config: `BootstrapParams.config`.
        named: which proxy it is; begins each error.
        notes: collects what is left out.

    Raises:
        InvalidProxyError: there is a Go template of a whole bootstrap.
    """

    def __init__(self, config: Mapping[str, Any], named: str, notes: Notes) -> None:
        self._named = named
        self._notes = notes
        self._values: dict[str, Any] = {}
        for key, value in config.items():
            folded = key.casefold()
            if folded in KEYS and (key == folded or folded not in self._values):
                self._values[folded] = value
        if self.text(TEMPLATE):
            raise self._wrong(
                TEMPLATE,
                "is a Go template, which only Consul's own tools can run; use"
                " envoy_extra_static_clusters_json and the other keys instead",
            )

    def __repr__(self) -> str:
        return f"<Central {', '.join(sorted(self._values))}>"

    def text(self, key: str) -> str:
        """Return the text of a key; empty: it is not set, or holds no text."""
        value = self._values.get(key)
        text = "" if value is None else weak_text(value)
        if text is None:
            self.leave_out(key, "is not a text")
        elif wrong := unfit(text):
            self.leave_out(key, wrong)
        else:
            return text
        return ""

    def texts(self, key: str) -> list[str]:
        """Return the texts of a key; values that are none are left out."""
        value = self._values.get(key)
        if value in (None, {}):
            return []
        found = []
        for each in value if isinstance(value, list | tuple) else [value]:
            text = weak_text(each)
            wrong = "one is not a text" if text is None else unfit(text)
            if text is None or wrong:
                self.leave_out(key, wrong)
            elif text:
                found.append(text)
        return found

    def object(self, key: str, wrong: Callable[[Part], str]) -> Part | None:
        """Return the JSON object in a key's text; None: not set, or not usable.

        Args:
            key: which one.
            wrong: returns why Envoy would not take an object; empty: it would.

        Raises:
            InvalidProxyError: the text is not JSON.
        """
        text = self.text(key)
        if not text.strip():
            return None
        try:
            found = self._decode(key, text)
        except UnusableError as error:
            self.leave_out(key, str(error))
            return None
        # Envoy reads null as an object with all defaults.
        value: Part = {} if found is None else found
        why = wrong(value) if isinstance(value, dict) else "is not a JSON object"
        if why:
            self.leave_out(key, why)
        return None if why else value

    def objects(self, key: str, wrong: Callable[[Part], str]) -> list[Part]:
        """Return the JSON objects in a key's text, which are separated by commas.

        Args:
            key: which one.
            wrong: returns why Envoy would not take an object, which is then left out;
                empty: it would.

        Raises:
            InvalidProxyError: the text is not JSON.
        """
        text = self.text(key)
        if not text.strip():
            return []
        try:
            value = self._decode(key, f"[{text}]")
        except UnusableError as error:
            self.leave_out(key, str(error))
            return []
        if len(value) == 1 and isinstance(value[0], list):
            value = value[0]  # somebody wrote the brackets, too
        found = []
        for each in value:
            why = wrong(each) if isinstance(each, dict) else "one is not a JSON object"
            if why:
                self.leave_out(key, why)
            else:
                found.append(each)
        return found

    def leave_out(self, key: str, why: str) -> None:
        """Note that a key or a part of it is left out."""
        self._notes.leave_out(key, why)

    def _decode(self, key: str, text: str) -> Any:
        try:
            return decode(text)
        except NotJsonError as error:
            raise self._wrong(key, str(error)) from None

    def _wrong(self, key: str, why: str) -> InvalidProxyError:
        return InvalidProxyError(
            f"{self._named}: central configuration: {key}: {why} ({WHERE})"
        )


def weak_text(value: Any) -> str | None:
    """Return the text that a value stands for; None: it stands for none."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return _number_text(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else None


def access_logs(texts: tuple[str, ...], notes: Notes) -> list[Part]:
    """Return the AccessLogs, which Consul sends as JSON; unusable ones are left out."""
    logs = []
    for text in texts:
        try:
            value = decode(text)
        except (NotJsonError, UnusableError) as error:
            notes.leave_out_of_params("an access log", str(error))
            continue
        if isinstance(value, dict):
            logs.append(value)
        else:
            notes.leave_out_of_params("an access log", "is not a JSON object")
    return logs


def _number_text(number: float) -> str:
    """Write a number without an exponent, as consul-dataplane does."""
    if isinstance(number, int):
        return str(number) if abs(number) < 10**300 else "Inf"
    decimal = Decimal(repr(number))
    return format(decimal.normalize() if decimal.is_finite() else decimal, "f")
