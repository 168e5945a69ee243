"""Which clocks are read where."""

import ast
from pathlib import Path

import consul_ebpf

PACKAGE = Path(consul_ebpf.__file__).parent
WALL_CLOCKS = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime"}
FOR_PEOPLE = {
    ("servers/known.py", "time"),  # how old a file is, in a log line
    ("base/timing.py", "time"),  # how long ago something was done, in a metric
    ("views/gatherer.py", "time"),  # the same
    ("cli/frames.py", "localtime"),  # when something happened
}


def test_fault_49_no_decision_reads_the_wall_clock() -> None:
    """A jump of ten years changes no timer: all are monotonic, or the event loop's."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"time", "datetime", "date"}
                and node.func.attr in WALL_CLOCKS
            ):
                found.add((str(path.relative_to(PACKAGE)), node.func.attr))
    assert found == FOR_PEOPLE
