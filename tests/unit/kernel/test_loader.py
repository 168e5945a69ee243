"""What the loader child's answers mean to whoever reads the one line."""

import errno
from typing import Any

import pytest

from consul_ebpf import KernelError, LoaderError, PrivilegeError
from consul_ebpf.kernel.loader import explain

EVERYTHING = frozenset({"sys_admin", "net_admin", "bpf"})


@pytest.mark.parametrize(
    ("answer", "have", "kind", "words"),
    [
        (
            {"kind": "import", "message": "No module named 'bcc'"},
            EVERYTHING,
            LoaderError,
            ["apt-get install python3-bpfcc", "--system-site-packages"],
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
