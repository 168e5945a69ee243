"""`tokens.json`: the logins' tokens, so that a restart makes no new ones."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.values import Login

TOKENS_FILE = "tokens.json"
"""In the bootstraps' directory, 0600."""


@dataclass(frozen=True, slots=True)
class Session:
    """A login's token in use."""

    how: Login
    secret: str = field(repr=False)
    made: float
    """Unix time."""
    lifetime: float | None = None
    """Seconds from then, as the file has it; 0: for ever; None: not known."""

    @property
    def life(self) -> Lifetime:
        """How long it lives from then."""
        if self.lifetime is None or self.lifetime < 0:
            return UNKNOWN
        return Lifetime(self.lifetime) if self.lifetime else FOREVER

    def living(self, life: Lifetime) -> "Session":
        """Return it with another lifetime."""
        if not life.known:
            return replace(self, lifetime=None)
        return replace(self, lifetime=life.seconds if life.ends else 0.0)


@dataclass(frozen=True, slots=True)
class Retired:
    """A token that is to be logged out."""

    key: str
    """Whose it was: a proxy's key, or empty for the whole host."""
    how: Login
    secret: str = field(repr=False)
    used: bool = True
    """Whether an Envoy may have been given it; an earlier version wrote no others."""


class _Content(msgspec.Struct, frozen=True):
    sessions: dict[str, Session]
    retired: list[Retired]


class TokenMemory:
    """Keeps sessions by key, and what is still to be logged out."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / TOKENS_FILE, _Content)

    def __repr__(self) -> str:
        return f"<TokenMemory {self._file.path}>"

    def load(self) -> tuple[dict[str, Session], list[Retired]]:
        """Return what an earlier process left."""
        content = self._file.load()
        return (content.sessions, content.retired) if content else ({}, [])

    def save(self, sessions: Mapping[str, Session], retired: Sequence[Retired]) -> None:
        """Write them, if they are others; no bearer token is among them."""
        if not (sessions or retired or self._file.path.exists()):
            return
        self._file.save(
            _Content(
                {key: replace(s, how=_bare(s.how)) for key, s in sessions.items()},
                [replace(each, how=_bare(each.how)) for each in retired],
            )
        )


def same_login(one: Login, other: Login) -> bool:
    """Whether two logins make the same token; the bearer token may be a newer one."""
    return _digest(one) == _digest(other)


def _bare(how: Login) -> Login:
    return replace(how, bearer_token="")


def _digest(how: Login) -> str:
    return hashlib.sha256(json.dumps(asdict(_bare(how))).encode()).hexdigest()
