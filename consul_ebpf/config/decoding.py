"""Decodes TOML to the schema's values; each error names the key that is wrong.

It knows the schema only by its types, and serves drop-in files as well. No error
repeats a value, because it may be a token.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from consul_ebpf.model.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

WORDS = {"array": "list", "object": "table", "bool": "true or false"}
"""TOML's names of msgspec's types."""

EXAMPLES = {"array": "[…]", "str": '"…"', "bool": "true"}
"""What to write, by type, where the schema has no default to show."""


def parse(data: bytes, type_: type[T], where: str) -> T:
    """Decode TOML to a value of `type_`; each error begins with `where`.

    Raises:
        ConfigError: it is not TOML, or not what `type_` says.
    """
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where}: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None
    except (ValueError, RecursionError):  # a number of 5,000 digits, 1,000 brackets
        raise ConfigError(f"{where}: not TOML: too long or too deep") from None
    return convert(table, type_, where)


def convert(table: Mapping[str, Any], type_: type[T], where: str) -> T:
    """Make `table` a value of `type_`.

    Raises:
        ConfigError: a key is unknown or missing, or a value is of another type.
    """
    info = inspect.type_info(type_)
    for path, key, known in _unknown(table, info, ""):
        raise ConfigError(f"{where}: {_join(path, key)}: unknown key; {known}")
    try:
        return msgspec.convert(dict(table), type_)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_reason(str(error), info)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deep") from None


def _unknown(
    value: Any, type_: inspect.Type, path: str
) -> Iterator[tuple[str, str, str]]:
    """Yield (path of its table, key, what to do) for each unknown key."""
    struct, item = _struct(type_), _item(type_)
    if struct is not None and isinstance(value, Mapping):
        fields = {field.encode_name: field.type for field in struct.fields}
        for key, inner in value.items():
            if key in fields:
                yield from _unknown(inner, fields[key], _join(path, key))
            else:
                yield path, key, _advice(key, path, struct)
    elif item is not None and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown(inner, item, f"{path}[{index}]")


def _advice(key: str, path: str, struct: inspect.StructType) -> str:
    """Name the most similar key: of the same table, else of a table below it."""
    # Memory that a controller does not need.
    import difflib  # noqa: PLC0415

    beside = [field.encode_name for field in struct.fields]
    if close := difflib.get_close_matches(key, beside, 1):
        return f"did you mean {_join(path, close[0])}?"
    below = {leaf: whole for whole, leaf in _leaves(struct, path)}
    if close := difflib.get_close_matches(key, below, 1):
        return f"did you mean {below[close[0]]}?"
    return f"known here: {', '.join(beside)}"


def _leaves(struct: inspect.StructType, path: str) -> Iterator[tuple[str, str]]:
    for field in struct.fields:
        whole = _join(path, field.encode_name)
        yield whole, field.encode_name
        if (inner := _struct(field.type)) is not None:
            yield from _leaves(inner, whole)


def _reason(message: str, info: inspect.Type) -> str:
    """Translate an error of msgspec: name the key, and what to write."""
    message, _, at = message.partition(" - at `$")
    path = at.removesuffix("`").removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        return f'{_join(path, missing[1])}: missing; write {missing[1]} = "…"'
    field = _field(info, path)
    if field is not None and message.startswith("Invalid enum value"):
        values = getattr(field.type, "values", ())
        return f"{path}: must be one of {', '.join(map(json.dumps, values))}"
    if field is not None and re.match("Expected `[a-z]+` [<>]=", message):
        usual = f"the usual one is {field.default:g}"
        return f"{path}: is not {bounds_of(field.type)}; {usual}"
    if wrong := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", message):
        expected, got = (WORDS.get(word, word) for word in wrong.groups())
        example = EXAMPLES.get(wrong[1], "")
        if field is not None and field.default and _is_plain(field.default):
            example = json.dumps(field.default)
        advice = ""
        if field is not None and example:
            advice = f"; write {field.encode_name} = {example}"
        return f"{path}: expected {expected}, got {got}{advice}"
    return f"{path}: {message}"


def bounds_of(type_: inspect.Type) -> str:
    """Return a number's bounds, like "1 to 65535"; empty: it has none."""
    if not isinstance(type_, inspect.IntType | inspect.FloatType) or type_.le is None:
        return ""
    return f"{type_.ge} to {type_.le}"


def _field(type_: inspect.Type, path: str) -> inspect.Field | None:
    """Find the field at a path like `proxies[2].node`; None: there is none."""
    found: inspect.Field | None = None
    for step in re.findall(r"\w+|\[[^\]]*\]", path):
        if step.startswith("["):
            found, inner = None, _item(type_)
        else:
            struct = _struct(type_)
            fields = struct.fields if struct is not None else ()
            found = next((f for f in fields if f.encode_name == step), None)
            inner = found.type if found is not None else None
        if inner is None:
            return None
        type_ = inner
    return found


def _struct(type_: inspect.Type) -> inspect.StructType | None:
    return type_ if isinstance(type_, inspect.StructType) else None


def _item(type_: inspect.Type) -> inspect.Type | None:
    return type_.item_type if isinstance(type_, inspect.ListType) else None


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float, str))


def _join(path: str, key: str) -> str:
    """Join a path and a key, which is quoted and cut off where that is needed."""
    written = key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else json.dumps(key[:60])
    return f"{path}.{written}" if path else written
