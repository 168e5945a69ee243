"""JSON that people wrote into a text, checked before it goes into a bootstrap. Pure.

Envoy does not start with a bootstrap that it cannot read. So a value must be JSON, and
hold nothing that Envoy's JSON reader refuses.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_DEPTH = 80
"""Of nested objects and lists in one value. Envoy reads 100 levels of the whole."""

MAX_DIGITS = 100
"""Of a number."""


class NotJsonError(ValueError):
    """The text is not JSON; the message says why."""


class UnusableError(ValueError):
    """The text is JSON that no bootstrap may hold; the message says why."""


def decode(text: str) -> Any:
    """Read one JSON value.

    Raises:
        NotJsonError: the text is not JSON.
        UnusableError: Envoy's reader would refuse it.
    """
    try:
        value = json.loads(
            text, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except json.JSONDecodeError as error:
        raise NotJsonError(f"is not JSON: {error.msg} at {_place(error)}") from None
    except RecursionError:
        raise UnusableError(_TOO_DEEP) from None
    for depth, each in _walk(value):
        if depth > MAX_DEPTH:
            raise UnusableError(_TOO_DEEP)
        if isinstance(each, str) and (wrong := unfit(each)):
            raise UnusableError(f"a text in it {wrong}")
    return value


def unfit(text: str) -> str:
    """Return why a text may not be in a bootstrap; empty: it may."""
    if "\0" in text:
        return "holds a NUL character"
    if any("\ud800" <= each <= "\udfff" for each in text):
        return "is not Unicode text"
    return ""


_TOO_DEEP = f"is nested deeper than {MAX_DEPTH}"


def _place(error: json.JSONDecodeError) -> str:
    return f"line {error.lineno}, column {error.colno}"


def _constant(name: str) -> NoReturn:
    raise NotJsonError(f"is not JSON: {name} is no number of JSON's")


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise UnusableError("a number in it is too large")
    return value


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise UnusableError("a number in it is too large")
    return int(text)


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield depth and value of all that is in a value, keys too; without recursion."""
    todo = [(0, value)]
    while todo:
        depth, each = todo.pop()
        yield depth, each
        if isinstance(each, dict):
            todo += [(depth + 1, key) for key in each]
            todo += [(depth + 1, inner) for inner in each.values()]
        elif isinstance(each, list):
            todo += [(depth + 1, inner) for inner in each]
