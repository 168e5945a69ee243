"""Answers: by key a value, or why there is none.

What the round waits for comes as answers: bindings, tokens, what Consul says of a
bootstrap. Whoever reads them decides by `isinstance(answer, Missing)` and its fields,
never by the words of `why`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a key has no value."""

    why: str
    """One line, for people."""
    quiet: bool = False
    """Every new key goes through this for a moment: not worth a line in the log."""
    gone: bool = False
    """What the value was of is gone, and an earlier value with it. False: the value
    cannot be told right now, and an earlier one holds."""
    overdue: bool = False
    """It was waited for long enough: go on without the value."""

    def __str__(self) -> str:
        return self.why


class Answers(Mapping[K, V | Missing], Generic[K, V]):
    """By key a value or a `Missing`. A key that is absent was not asked for yet.

    Immutable. Its repr shows no values: they may be secrets.
    """

    __slots__ = ("_by_key",)

    def __init__(self, by_key: Mapping[K, V | Missing] | None = None) -> None:
        self._by_key = dict(by_key or {})

    def __repr__(self) -> str:
        return f"<Answers of {len(self._by_key)} keys>"

    def __getitem__(self, key: K) -> V | Missing:
        return self._by_key[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Answers):
            return self._by_key == other._by_key
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as every mapping

    def value(self, key: K) -> V | None:
        """Return the value of a key, None where there is none."""
        answer = self._by_key.get(key)
        return None if isinstance(answer, Missing) else answer
