"""Makes docs/configuration.md from the schema: each key, its default, its meaning.

`python -m consul_ebpf.config.reference > docs/configuration.md`
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from consul_ebpf.config.decoding import bounds_of
from consul_ebpf.config.load import load
from consul_ebpf.config.schema import (
    Config,
    ProxyEntry,
    Section,
    consul,
    host,
    kubernetes,
    proxies,
)

INTRODUCTION = """\
# Configuration

One TOML file: `--config`, or `$CONSUL_EBPF_CONFIG`. `--set KEY=VALUE` and Consul's own
variables override it. An unknown key is an error that names the nearest known one.

This page is made from `consul_ebpf/config/schema/`; a test compares them.
"""

HEADER = ("| key | default | meaning |", "|---|---|---|")


@dataclass(frozen=True, slots=True)
class Key:
    """One key as the page shows it."""

    name: str
    default: str
    """As TOML in backticks, `none` or `required`."""
    meaning: str


def keys() -> Iterator[Key]:
    """Yield every key of the configuration, in the schema's order."""
    defaults = load(None, {}, serving=False)
    yield from _keys(Config, defaults, "", _docstrings())


def document() -> str:
    """Return docs/configuration.md."""
    lines, heading = [INTRODUCTION], ""
    for key in keys():
        section = _section(key.name)
        if section != heading:
            heading = section
            lines += [f"\n## {heading}\n", *HEADER]
        lines.append(f"| `{key.name}` | {key.default} | {key.meaning} |")
    return "\n".join(lines) + "\n"


def _section(key: str) -> str:
    table = key.rpartition(".")[0]
    return f"[[{table.removesuffix('[]')}]]" if table.endswith("[]") else f"[{table}]"


def _keys(
    section: type[Section],
    value: Any,
    path: str,
    meanings: Mapping[tuple[str, str], str],
) -> Iterator[Key]:
    for field in msgspec.structs.fields(section):
        name = f"{path}{field.encode_name}"
        meaning = meanings.get((section.__name__, field.name), "")
        if field.type == list[ProxyEntry]:
            yield from _keys(ProxyEntry, ProxyEntry(id=""), f"{name}[].", meanings)
        elif name == "proxies[].credentials":  # as [consul.credentials]
            yield Key(name, "none", meaning)
        elif field.required:
            yield Key(name, "required", meaning)
        elif isinstance(inner := getattr(value, field.name), Section):
            yield from _keys(type(inner), inner, f"{name}.", meanings)
        else:
            bounds = bounds_of(msgspec.inspect.type_info(field.type))
            written = f"`{json.dumps(inner)}`"
            yield Key(name, f"{written}; {bounds}" if bounds else written, meaning)


def _docstrings() -> dict[tuple[str, str], str]:
    """Return the docstring of each field as one line, by class and field."""
    found = {}
    sources = [
        inspect.getsource(module) for module in (consul, proxies, host, kubernetes)
    ]
    for node in ast.parse("\n".join(sources)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, said in zip(node.body, node.body[1:], strict=False):
            match field, said:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str() as text)),
                ):
                    found[node.name, name] = " ".join(text.split())
    return found


if __name__ == "__main__":
    sys.stdout.write(document())
