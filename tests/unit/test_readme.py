"""What the documents say is so: checked against the code they speak of."""

import ast
import json
import re
import tomllib
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import pytest
from click.testing import CliRunner

from consul_ebpf.cli import COMMAND_MODULES, main
from consul_ebpf.config.load import load
from consul_ebpf.config.reference import document, keys
from consul_ebpf.model import errors as _errors
from consul_ebpf.views.status import Status

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)
TEXTS = {name: (ROOT / name).read_text() for name in DOCUMENTS}
README = TEXTS["README.md"]
COMMANDS = TEXTS["docs/commands.md"]


def blocks(language: str) -> list[str]:
    """Return the pages' code blocks in a language."""
    pattern = rf"^```{language}\n(.*?)^```"
    found = [
        block
        for text in TEXTS.values()
        for block in re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    ]
    assert found, f"no {language} block"
    return found


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the commands' table with this heading, by the first cell."""
    rows = COMMANDS.partition(f"\n{heading}\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert rows, f"no table {heading}"
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return {first.strip("`"): rest for first, *rest in cells}


def shape(type_: Any) -> Any:
    """Return the keys of a dataclass's JSON, nested."""
    if typing.get_origin(type_) is UnionType:  # with None
        return shape(typing.get_args(type_)[0])
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


def test_the_page_of_the_configuration_is_the_schemas() -> None:
    """`python -m consul_ebpf.config.reference > docs/configuration.md`"""
    assert TEXTS["docs/configuration.md"] == document()
    assert [key.name for key in keys() if not key.meaning] == []


def test_every_command_is_described() -> None:
    """The commands in bold are exactly those of `--help`."""
    described = set(re.findall(r"\*\*`(\w+)[^`]*`\*\*", COMMANDS))
    assert set(COMMAND_MODULES) == described


@pytest.mark.parametrize(
    "line",
    sorted(
        set(re.findall(r"^# consul-ebpf (.*)", README + COMMANDS, re.MULTILINE)),
    ),
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
        CliRunner().invoke(main, [name, "--help"]).output for name in COMMAND_MODULES
    ]
    inline = " ".join(re.findall(r"`[^`\n]*`", COMMANDS))
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
    (text,) = re.findall(r"^```json\n(.*?)^```", COMMANDS, re.MULTILINE | re.DOTALL)
    assert shape(Status) == shape_of(json.loads(text))


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


def test_the_readme_is_read_in_one_go() -> None:
    """What else there is to know has a page of its own."""
    assert len(README.splitlines()) <= 220


def test_every_page_is_found_from_the_readme() -> None:
    """By a link there, or in the index of its folder."""
    linked = {
        str((ROOT / name).parent.joinpath(link).resolve().relative_to(ROOT))
        for name in ("README.md", "docs/adr/README.md")
        for link in _links(TEXTS[name])
    }
    assert set(DOCUMENTS) - linked == {"README.md"}


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_and_sessions_exist(page: str) -> None:
    """A relative link leads to a file, and `nox -s NAME` to a session."""
    text = TEXTS[page]
    noxfile = ast.parse((ROOT / "noxfile.py").read_text())
    sessions = {
        node.name
        for node in noxfile.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    assert set(re.findall(r"nox -s (\w+)", text)) <= sessions
    for link in _links(text):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def _links(text: str) -> list[str]:
    found: list[str] = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", text)
    return found


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_paths_named_exist(page: str) -> None:
    """In backticks, from the top or from the package: a place that moved is noticed."""
    named = re.findall(r"`([\w./-]+/[\w-]+\.(?:py|c|h|md))`", TEXTS[page])
    assert named
    places = (ROOT, ROOT / "consul_ebpf", ROOT / "bpf", ROOT / "tests")
    for path in named:
        assert any((place / path).exists() for place in places), path
    for name in re.findall(r"`(\w+\.(?:py|c|h))`", TEXTS[page]):
        assert any(next(place.rglob(name), None) for place in places[1:]), name
