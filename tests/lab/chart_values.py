"""The chart's values.yaml as a page of the documents, and as a JSON schema.

`python -m tests.lab.chart_values` writes both anew.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/consul-ebpf"
PAGE = ROOT / "docs/kubernetes-values.md"
SCHEMA = CHART / "values.schema.json"

HEAD = """\
# The chart's values

What `helm install --set` and `--values` take for `deploy/helm/consul-ebpf`. An unknown
name is refused. [Kubernetes](kubernetes.md) says how it is installed.

This page is made from `deploy/helm/consul-ebpf/values.yaml`; a test compares them.

| value | default | meaning |
|---|---|---|
"""


@dataclass(frozen=True)
class Value:
    """One value that a user may set."""

    name: str
    default: Any
    meaning: str


def values() -> Iterator[Value]:
    """Yield each value with the comment above it."""
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    path: list[str] = []
    free = ""  # the value that what follows is an example of
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            comment.append(bare.removeprefix("#").strip())
        elif not bare or bare.startswith("- "):
            comment = []
        else:
            key = bare.partition(":")[0]
            path = [*path[: (len(line) - len(line.lstrip())) // 2], key]
            default = defaults
            for step in path:
                default = default[step]
            name = ".".join(path)
            table = isinstance(default, dict)
            inside = free and name.startswith(free)
            if (comment or not table or not default) and not inside:
                yield Value(name, default, " ".join(comment))
                free = f"{name}." if table else ""
            comment = []


def page() -> str:
    """Return the page."""
    rows = [
        f"| `{each.name}` | `{json.dumps(each.default)}` | {each.meaning} |\n"
        for each in values()
    ]
    return HEAD + "".join(rows)


def schema() -> str:
    """Return the schema: each value's type is its default's."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    made = _schema(defaults)
    made["properties"]["global"] = {"type": "object"}  # of a chart that holds this one
    whole = {"$schema": "https://json-schema.org/draft-07/schema#", **made}
    return json.dumps(whole, indent=2) + "\n"


def _schema(default: Any) -> dict[str, Any]:
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, int):
        return {"type": "integer", "minimum": 1}
    if isinstance(default, str):
        return {"type": "string"}
    if isinstance(default, list):
        strings = all(isinstance(each, str) for each in default) and default
        return {"type": "array", **({"items": {"type": "string"}} if strings else {})}
    if not default or "requests" in default:  # free, as Kubernetes has it
        return {"type": "object"}
    inner = {key: _schema(value) for key, value in default.items()}
    return {"type": "object", "additionalProperties": False, "properties": inner}


if __name__ == "__main__":
    PAGE.write_text(page())
    SCHEMA.write_text(schema())
