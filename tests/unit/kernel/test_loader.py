"""What the loader child's answers mean to whoever reads the one line."""

import ast
import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf import KernelError, LoaderError, PrivilegeError
from consul_ebpf.kernel import loader
from consul_ebpf.kernel.loader import explain, load_program
from consul_ebpf.kernel.program import CONNECT

EVERYTHING = frozenset({"sys_admin", "net_admin", "bpf"})


@pytest.mark.parametrize(
    ("answer", "have", "kind", "words"),
    [
        (
            {"kind": "import", "message": "/usr/bin/python3: No module named 'bcc'"},
            EVERYTHING,
            LoaderError,
            ["apt-get install python3-bpfcc", "dnf install python3-bcc"],
        ),
        (
            {"kind": "system", "errno": errno.EPERM, "message": "attach"},
            frozenset({"net_admin"}),
            PrivilegeError,
            ["CAP_SYS_ADMIN", "root"],
        ),
        (
            {"kind": "system", "errno": errno.EPERM, "message": "attach"},
            EVERYTHING,
            KernelError,
            ["loading", "attach"],
        ),
        (
            {"kind": "bcc", "message": "Failed to compile"},
            EVERYTHING,
            LoaderError,
            ["Failed to compile", "x.c:1: error: what is this"],
        ),
        (
            {"kind": "bcc", "message": "Failed to load"},
            frozenset(),
            PrivilegeError,
            ["CAP_SYS_ADMIN"],
        ),
    ],
)
def test_an_answer_becomes_one_line_that_says_what_to_do(
    answer: dict[str, Any],
    have: frozenset[str],
    kind: type[Exception],
    words: list[str],
) -> None:
    """By what the child met, and by what this process may do."""
    stderr = "In file included\nx.c:1: error: what is this\n1 more line\n"
    error = explain(answer, stderr, have)
    assert type(error) is kind
    for word in words:
        assert word in str(error)
    assert "\n" not in str(error)


def script(directory: Path, text: str) -> str:
    path = directory / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 3", "ended with 3"),
        ("echo what is this", "ended with 0"),
        ("echo '[1, 2]'", "ended with 0"),
        ("printf '\\377\\376'; printf '\\351\\n' >&2; exit 1", "ended with 1"),
        ("kill -9 $$", "ended with -9"),
        ("echo gone astray >&2; exit 1", "gone astray"),
    ],
)
def test_fault_104_an_interpreter_that_goes_astray_is_told_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    """With the others that were tried, and what to install."""
    pythons = [script(tmp_path, text), "/nowhere/python3"]
    with pytest.raises(LoaderError, match="python3-bcc") as failed:
        load_program(CONNECT, {}, tmp_path, tmp_path, pythons=pythons)
    assert said in str(failed.value)
    assert "/nowhere/python3: it cannot be started" in str(failed.value)
    assert str(failed.value).isprintable()


def test_fault_104_a_load_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """And said, with no other interpreter being tried."""
    slow = script(tmp_path, "exec sleep 60")
    with pytest.raises(LoaderError, match=r"not loaded it after 0.2 s") as failed:
        load_program(
            CONNECT,
            {},
            tmp_path,
            tmp_path,
            pythons=[slow, "/nowhere/python3"],
            seconds=0.2,
        )
    assert "/nowhere" not in str(failed.value)


def test_fault_104_the_loader_is_written_for_every_python_since_3_6() -> None:
    """And imports nothing of ours: it may run on the distribution's."""
    source = Path(loader.__file__).with_name("loader_child.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    others = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in others] == ["typing"]  # for the type checker
    assert imported == {"bcc", "ctypes", "json", "os", "signal", "sys"}


def test_our_own_interpreter_is_tried_first() -> None:
    """Each once, by whatever names it has."""
    found = loader.interpreters()
    assert found[0] == sys.executable
    assert len(found) == len(set(found))
