"""A volume's `volumeAttributes`: the webhook writes them, the node plugin reads them.

They stand in the pod's manifest, so its author can write anything into them: nothing of
trust is here. On the wire each is a string, and what is absent has its default:

    version   "1"
    service   "web"                                   only where a pod has several
    kind      "sidecar" or "gateway"
    options   {"login-auth-method": "k8s", "login-meta": ["pod=default/web-1"]}
    env       {"HOST_IP": "$(status.hostIP)"}
    uid, gid  "5995"
    mount     "/consul-ebpf"
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.names import CONTROL, shown

VERSION = "1"

MOUNT = "/consul-ebpf"
"""Where a container sees the volume."""

MAX_ENV_BYTES = 4096
MAX_OPTIONS_BYTES = 16384
"""Of the JSON. consul-k8s passes a dozen options of some 50 bytes."""

MAX_TEXT_BYTES = 512
"""Of each other attribute."""

MAX_UID = 2**32 - 2
"""The largest is no user: it means "leave as it is"."""

DOWNWARD = (
    "spec.nodeName",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "status.hostIP",
)
"""The fields of a pod that a value of `env` may name, like `$(metadata.name)`."""

Value = str | tuple[str, ...]

_OPTION = re.compile(r"[a-z][a-z0-9-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_FIELD = re.compile(r"\$\((" + "|".join(map(re.escape, DOWNWARD)) + r")\)")

_OPTIONS = msgspec.json.Decoder(dict[str, Value])
_ENV = msgspec.json.Decoder(dict[str, str])


class InvalidAttributeError(ConsulEbpfError):
    """An attribute cannot be used; the message names it."""


class Attributes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the pod's author, or the webhook for it, says of one volume."""

    version: Literal["1"] = "1"
    service: str = ""
    """The service that it is for; empty: the pod has only one."""
    kind: Literal["sidecar", "gateway"] = "sidecar"
    options: Mapping[str, Value] = {}
    """Options of consul-dataplane, by name without dashes."""
    env: Mapping[str, str] = {}
    """The plain environment variables of Envoy's container."""
    uid: int | None = None
    """The user that Envoy runs as; None: not known."""
    gid: int | None = None
    mount: str = MOUNT
    """The path at which Envoy's container sees the volume."""

    @classmethod
    def read(cls, attributes: Mapping[str, str]) -> "Attributes":
        """Read what is on the wire.

        Raises:
            InvalidAttributeError: one is unknown, or has a value that it cannot have.
        """
        made: dict[str, Any] = {}
        for name, text in attributes.items():
            try:
                made[name] = _READ[name](text)
            except KeyError:
                raise InvalidAttributeError(
                    f"attribute {shown(name)} is unknown; known are {', '.join(_READ)}"
                ) from None
            except (ValueError, RecursionError) as error:
                said = str(error)
                if isinstance(error, RecursionError | msgspec.MsgspecError):
                    said = "is not the JSON it should be"
                raise InvalidAttributeError(f"attribute {name} {said}") from None
        return cls(**made)

    def written(self) -> dict[str, str]:
        """Return what `read` makes these of; attributes with defaults are left out."""
        wire: dict[str, str] = {"version": self.version}
        for name, value in msgspec.structs.asdict(self).items():
            if name != "version" and value != getattr(_DEFAULT, name):
                plain = isinstance(value, str | int)
                wire[name] = str(value) if plain else _json(value)
        return wire

    def filled_env(self, fields: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return `env` with the pod's own fields, of `DOWNWARD`, put in; sorted."""
        return tuple(
            (name, filled(text, fields)) for name, text in sorted(self.env.items())
        )


def filled(text: str, fields: Mapping[str, str]) -> str:
    """Return a text with the pod's own fields, of `DOWNWARD`, put in."""
    return _FIELD.sub(lambda found: fields.get(found[1], ""), text)


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _plain(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Return a text that is short enough and fits in one line.

    Raises:
        ValueError: it is not.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("is not Unicode text") from None
    if size > limit:
        raise ValueError(f"is {size} bytes long; at most {limit} are allowed")
    if CONTROL.search(text):
        raise ValueError("holds a control character; remove it")
    return text


def _version(text: str) -> str:
    if text != VERSION:
        raise ValueError(
            f"is {shown(text)}; this driver reads {VERSION!r}: upgrade the older of"
            " webhook and driver"
        )
    return text


def _kind(text: str) -> str:
    if text not in {"sidecar", "gateway"}:
        raise ValueError(f"is {shown(text)}; it must be sidecar or gateway")
    return text


def _options(text: str) -> Mapping[str, Value]:
    options = _OPTIONS.decode(_plain(text, MAX_OPTIONS_BYTES))
    for name, value in options.items():
        if not _OPTION.fullmatch(name):
            raise ValueError(f"has {shown(name)}, which is no option's name")
        for each in (value,) if isinstance(value, str) else value:
            _plain(each)
    return options


def _env(text: str) -> Mapping[str, str]:
    env = _ENV.decode(_plain(text, MAX_ENV_BYTES))
    for name in env:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"has {shown(name)}, which is no variable's name")
    return env


def _id(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > MAX_UID:
        raise ValueError(f"is {shown(text)}; it must be a number from 0 to {MAX_UID}")
    return int(text)


def _mount(text: str) -> str:
    _plain(text)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"is {shown(text)}; it must be an absolute path without '..'")
    return text


_READ = {
    "version": _version,
    "service": _plain,
    "kind": _kind,
    "options": _options,
    "env": _env,
    "uid": _id,
    "gid": _id,
    "mount": _mount,
}
"""For each attribute, what makes its value of the text on the wire."""

_DEFAULT = Attributes()
