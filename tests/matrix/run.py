"""Run a case's tests in a pytest of their own, and say what came of it."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.machine import versions
from tests.lab.go_build import Say
from tests.matrix.cases import Case
from tests.matrix.junit import make_result, read_outcomes
from tests.matrix.parts import ROOT, get_parts
from tests.matrix.results import Result

# As `nox -s tests` does: side by side, then what measures, alone, then once more what
# failed, since real servers on a shared machine may be late.
BESIDE = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")
AGAIN = ("--last-failed", "--last-failed-no-failures=none")

RAN = {0, 1, 5}
"""pytest's exit codes if it ran: all passed, some failed, no test was asked for."""


class NotRunError(Exception):
    """pytest could not run the tests, or was ended; says so."""


def run_case(
    case: Case, revision: str, pytest_arguments: Sequence[str], say: Say
) -> Result:
    """Run it with further arguments to pytest.

    `revision` was asked for before the first case: each that is published makes the
    checkout dirty.

    Raises:
        PartMissingError: a part is not to be had in that version.
        NotRunError: pytest could not run the tests, or was ended.
    """
    python, parts = get_parts(case, say)
    env = {**os.environ, **parts, "PYTHONPATH": str(ROOT)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would compile all
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        reports: list[Path] = []

        def run_pytest(*arguments: str) -> None:
            reports.append(Path(scratch) / f"{len(reports)}.xml")
            command = [
                *(
                    str(python),
                    "-m",
                    "pytest",
                    "-q",
                    "-o",
                    f"cache_dir={scratch}/cache",
                ),
                *(f"--junitxml={reports[-1]}", *case.paths, *arguments),
                *pytest_arguments,
            ]
            code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
            if code not in RAN:
                raise NotRunError(f"pytest {' '.join(arguments)} ended with {code}")

        run_pytest("-m", f"({case.marks}) and not alone", *BESIDE)
        run_pytest("-m", f"({case.marks}) and not alone", *AGAIN)
        run_pytest("-m", f"({case.marks}) and alone")
        run_pytest("-m", f"({case.marks}) and alone", *AGAIN)
        outcomes = read_outcomes(path for path in reports if path.exists())
    return make_result(
        case.name,
        revision,
        _versions(python, parts),
        case.paths,
        outcomes,
        time.monotonic() - begun,
    )


def _versions(python: Path, parts: dict[str, str]) -> dict[str, str]:
    """Ask each part for its version, rather than trust the case's name."""
    asked = {
        "consul": [parts["CONSUL_BIN"], "version"],
        "envoy": [parts["ENVOY_BIN"], "--version"],
        "python": [str(python), "--version"],
    }
    found = versions(asked)
    return {name: found[name] for name in asked}
