"""The script that waits runs in a shell, after whatever it is put behind."""

import subprocess
from pathlib import Path

import pytest

from consul_ebpf.kubernetes.webhook.pod import Container
from consul_ebpf.kubernetes.webhook.reasons import SkipError
from consul_ebpf.kubernetes.webhook.script import followed_by, loop, script_of


def run(script: str, mount: Path, wanted: int = 0) -> str:
    """Run it as the init container does; the bootstrap is there."""
    (mount / "bootstrap.json").write_text("{}")
    done = subprocess.run(
        ["/bin/sh", "-ec", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == wanted, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "script",
    [
        "echo done \\\n  \\\n",
        "\n\techo done\n\n",
        "exec echo done",
        "exec sh -c 'echo done' \\\n",
        "echo done; exit 0",
        "if true; then exec echo done; fi",
        "echo done # no exec follows",
    ],
)
def test_it_comes_after_what_was_there(script: str, tmp_path: Path) -> None:
    """Whether that ends in a backslash, in an exec or in an exit."""
    made = followed_by(script, str(tmp_path))
    assert run(f"{made}echo waited", tmp_path) == "done\nwaited\n"


@pytest.mark.parametrize("script", ["false \\\n", "exit 3", "exec false"])
def test_it_does_not_come_after_a_failure(script: str, tmp_path: Path) -> None:
    """The container fails as before, and kubelet starts it again."""
    made = followed_by(script, str(tmp_path))
    wanted = 3 if "exit" in script else 1
    assert run(f"{made}echo waited", tmp_path, wanted) == ""


def test_a_plain_script_stays_as_it_is() -> None:
    """But for the end of its last line."""
    made = followed_by("connect-init -a \\\n  -b \\\n", "/consul-ebpf")
    assert made == f"connect-init -a \\\n  -b\n{loop('/consul-ebpf')}"


def test_kubernetes_finds_no_variable_in_it() -> None:
    """`$(…)` would be one."""
    assert "$(" not in loop("/consul-ebpf")


def test_a_path_that_a_shell_could_run() -> None:
    """Is refused."""
    with pytest.raises(SkipError):
        loop('/x"; reboot; "')


@pytest.mark.parametrize(
    ("command", "args", "script"),
    [
        (("/bin/sh", "-ec", "x"), None, "x"),
        (("bash", "-c", "x"), (), "x"),
        (("/bin/sh", "-e", "x"), None, None),
        (("/bin/sh", "-ec"), ("x",), "x"),
        (("/bin/sh", "-e", "-u", "-c"), ("x",), "x"),
        (("/bin/sh", "-c", "x", "y"), None, None),
        (("/bin/sh", "-c"), None, None),
        (("python3", "-c", "x"), None, None),
        (None, ("x",), None),
    ],
)
def test_what_is_a_script(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, script: str | None
) -> None:
    """A shell's, in the usual form."""
    assert script_of(Container(name="c", command=command, args=args)) == script
