"""What the documents say is so: checked against the code they speak of."""

import ast
import json
import re
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from consul_ebpf.cli import main
from consul_ebpf.config.load import load
from consul_ebpf.config.schema import Config, Dns, ProxyEntry, Section
from consul_ebpf.model import errors as _errors
from consul_ebpf.views.snapshot import Snapshot

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} block"
    return found


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table with this heading, by their first cell."""
    rows = README.partition(f"\n{heading}\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert rows, f"no table {heading}"
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return {first.strip("`"): rest for first, *rest in cells}


def schema(section: type[Section], value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every key of the configuration and its default, as TOML."""
    for field in msgspec.structs.fields(section):
        key = f"{path}{field.encode_name}"
        if field.type == list[ProxyEntry]:
            yield from schema(ProxyEntry, ProxyEntry(id=""), f"{key}[].")
        elif key == "proxies[].credentials":  # as [consul.credentials]
            yield key, "none"
        elif field.required:
            yield key, "required"
        elif isinstance(inner := getattr(value, field.name), Section):
            yield from schema(type(inner), inner, f"{key}.")
        else:
            yield key, f"`{json.dumps(inner)}`"


def shape(type_: Any) -> Any:
    """Return the keys of a dataclass's JSON, nested."""
    if typing.get_origin(type_) is dict:
        return {}
    if is_dataclass(type_):
        hints = typing.get_type_hints(type_)
        return {field.name: shape(hints[field.name]) for field in fields(type_)}
    if typing.get_origin(type_) is list:
        return [shape(typing.get_args(type_)[0])]
    return None


def shape_of(value: Any) -> Any:
    """Return the keys of a JSON value, nested; of a list, those of all its items."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        shapes = [shape_of(inner) for inner in value]
        assert all(each == shapes[0] for each in shapes)
        return shapes[:1]
    return None


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_configuration_shown_loads(text: str, tmp_path: Path) -> None:
    """Every TOML block is a whole configuration that this version carries out."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    config = load(path, {})
    assert tomllib.loads(text)["consul"]["http_addresses"] == (
        config.consul.http_addresses
    )


def test_the_configuration_table_is_the_schema() -> None:
    """Exactly the keys there are, in their order, each with its default."""
    defaults = load(None, {}, serving=False)
    documented = {
        key: rest[0] for key, rest in table("| key | default | meaning |").items()
    }
    assert list(schema(Config, defaults, "")) == list(documented.items())


def test_what_comes_later_is_marked() -> None:
    """Keys of what is refused are not sold as working."""
    keys = {f"dns.{name}" for name in Dns.__struct_fields__}
    documented = table("| key | default | meaning |")
    marked = {
        key for key, (_, meaning) in documented.items() if "*later" in meaning.lower()
    }
    assert keys == marked


def test_every_command_is_described() -> None:
    """The commands in bold are exactly those of `--help`."""
    described = set(re.findall(r"\*\*`(\w+)[^`]*`\*\*", README))
    assert set(main.commands) == described


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"^# consul-ebpf (.*)", README, re.MULTILINE)))
)
def test_a_command_line_shown_parses(line: str) -> None:
    """The command and each of its options are in its `--help`."""
    command, *words = line.split()
    own = words[: words.index("--")] if "--" in words else words
    helped = CliRunner().invoke(main, [command, "--help"])
    assert helped.exit_code == 0, helped.output
    for option in (word for word in own if word.startswith("-")):
        assert option in helped.output


def test_every_option_named_exists() -> None:
    """No `--flag` of ours in the text but those of the command."""
    helps = [
        CliRunner().invoke(main, [name, "--help"]).output for name in main.commands
    ]
    inline = " ".join(re.findall(r"`[^`\n]*`", README.partition("\n## Commands\n")[2]))
    for option in re.findall(r"--[a-z][a-z-]+", inline):
        assert any(option in text for text in helps), option


def test_exit_codes_are_those_of_the_errors() -> None:
    """Each error's exit code is in the table, and 0."""
    errors = [each for each in vars(_errors).values() if isinstance(each, type)]
    codes = {each.exit_code for each in errors if hasattr(each, "exit_code")}
    documented = table("| exit code | means |")
    assert {0} | codes == {int(code) for code in documented}


def test_the_status_shown_has_the_real_shape() -> None:
    """Programs may be written after the README's JSON."""
    (text,) = blocks("json")
    assert shape(Snapshot) == shape_of(json.loads(text))


@pytest.mark.parametrize("text", blocks("python"))
def test_python_shown_imports(text: str) -> None:
    """Every import in a Python block works."""
    tree = ast.parse(text)
    imports: list[ast.stmt] = [
        each for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom)
    ]
    assert imports
    exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def test_every_example_is_listed() -> None:
    """The table of examples is the folder."""
    listed = re.findall(r"\]\(examples/(\w+\.py)\)", README)
    assert sorted(path.name for path in (ROOT / "examples").glob("*.py")) == sorted(
        listed
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_sessions_exist(document: str) -> None:
    """A relative link leads to a file, and `nox -s NAME` to a session."""
    text = (ROOT / document).read_text()
    noxfile = ast.parse((ROOT / "noxfile.py").read_text())
    sessions = {
        node.name
        for node in noxfile.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    assert set(re.findall(r"nox -s (\w+)", text)) <= sessions
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
