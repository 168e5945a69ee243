"""What a JSON patch makes of an object, as the API server applies it."""

import copy
from collections.abc import Iterable
from typing import Any


def applied(before: Any, operations: Iterable[dict[str, Any]]) -> Any:
    """Apply the three operations that the webhook uses; anything odd is an error."""
    whole = {"": copy.deepcopy(before)}
    for operation in operations:
        steps = operation["path"].split("/")
        *way, last = [step.replace("~1", "/").replace("~0", "~") for step in steps]
        at: Any = whole
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        match operation["op"], at:
            case "add", list():
                assert last == "-"
                at.append(copy.deepcopy(operation["value"]))
            case "replace", list():
                at[int(last)] = copy.deepcopy(operation["value"])
            case "add", dict():
                assert last not in at
                at[last] = copy.deepcopy(operation["value"])
            case "replace", dict():
                assert last in at
                at[last] = copy.deepcopy(operation["value"])
            case "remove", dict():
                del at[last]
            case _:
                raise AssertionError(operation)
    return whole[""]
