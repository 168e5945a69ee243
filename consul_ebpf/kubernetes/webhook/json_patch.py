"""A JSON patch (RFC 6902) from one object to another. Pure."""

from collections.abc import Iterator
from typing import Any

Operation = dict[str, Any]


def patch(before: Any, after: Any, path: str = "") -> Iterator[Operation]:
    """Yield what makes `after` of `before`; what is the same object is not looked at.

    Lists either grow at their end, or keep their length, or are replaced.
    """
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() - after.keys():
            yield {"op": "remove", "path": _below(path, key)}
        for key, value in after.items():
            if key in before:
                yield from patch(before[key], value, _below(path, key))
            else:
                yield {"op": "add", "path": _below(path, key), "value": value}
    elif isinstance(before, list) and isinstance(after, list) and before:
        yield from _lists(before, after, path)
    elif before != after:
        yield {"op": "replace", "path": path, "value": after}


def _lists(before: list[Any], after: list[Any], path: str) -> Iterator[Operation]:
    kept = after[: len(before)]
    if len(after) < len(before) or any(map(_is_other, before, kept)):
        yield {"op": "replace", "path": path, "value": after}
        return
    for index, each in enumerate(before):
        yield from patch(each, after[index], f"{path}/{index}")
    for value in after[len(before) :]:
        yield {"op": "add", "path": f"{path}/-", "value": value}


def _is_other(before: Any, after: Any) -> bool:
    """Whether it is easier to show the new one than what changed in it."""
    return before is not after and not isinstance(after, dict) and before != after


def _below(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
