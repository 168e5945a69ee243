"""The shell completes commands and options, as docs/commands.md says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """#!/bin/sh
exec {python} -c 'import sys; from consul_ebpf.cli import main
sys.argv[0] = "consul-ebpf"
main()' "$@"
"""

ASK = """
source /dev/stdin <<< "$(_CONSUL_EBPF_COMPLETE=bash_source consul-ebpf)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_consul_ebpf_completion consul-ebpf "${COMP_WORDS[-1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["status", "stop"]),
        (["status", "--ex"], ["--exit-code"]),
        (["top", "--sort", "mo"], ["moves"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    """Commands, options, and what an option can be."""
    command = tmp_path / "consul-ebpf"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", "consul-ebpf", *words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected


def test_no_module_is_imported_to_complete_a_commands_name() -> None:
    """gRPC and aiohttp take a second, and a person waits for it."""
    code = """if True:
        import sys
        from consul_ebpf.cli import main
        from click.shell_completion import ShellComplete
        found = ShellComplete(main, {}, "consul-ebpf", "X").get_completions([], "")
        assert "status" in {each.value for each in found}
        print(sorted({"grpc", "aiohttp", "rich"} & sys.modules.keys()))"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
