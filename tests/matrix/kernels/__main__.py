"""`python -m tests.matrix.kernels [VERSION…] [-- PYTEST ARGUMENTS]`: all, or those.

A guest's console is shown when it has ended. With `--publish` the results of whole runs
go to docs/compatibility.json, and from there into the page.
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.bench.machine import commit
from tests.lab.go_build import PartMissingError, Say
from tests.matrix.junit import make_result, read_outcomes
from tests.matrix.kernels.guests import GUESTS, Guest
from tests.matrix.kernels.image import ensure_image
from tests.matrix.kernels.machine import run_guest
from tests.matrix.page import publish_result
from tests.matrix.results import Result, told

GUEST_SECONDS = 4 * 3600.0
"""Without KVM each instruction is translated, on a host that may have more to do."""
TESTS = ("tests/kernel",)
OPTIONS = (
    *("-p", "no:cacheprovider", "-p", "tests.matrix.kernels.told"),
    *("-v", "--color=no", "--timeout=1500"),
    *("-m", "kernel and not consul and not envoy and not alone"),
)


def main(arguments: list[str]) -> int:
    """Run them; return the exit code: 1 if a test failed or a part is missing."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    asked, more = arguments[:at], arguments[at + 1 :]
    publish = "--publish" in asked
    if publish and more:
        raise SystemExit("--publish is for whole runs: no arguments to pytest")
    versions = [name for name in asked if name != "--publish"] or list(GUESTS)
    if unknown := set(versions) - set(GUESTS):
        raise SystemExit(
            f"no kernel {', '.join(sorted(unknown))}: there are {', '.join(GUESTS)}"
        )
    say = partial(print, flush=True)
    # A run that is told to stop still ends its guest.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    revision = commit()
    code = 0
    for version in versions:
        try:
            result = _run(GUESTS[version], revision, more, say)
        except PartMissingError as error:
            raise SystemExit(str(error)) from None
        if result is None:
            say(f"kernel {version}: it ended before pytest did")
            code = 1
            continue
        say(told(result))
        code = code if result.passed and not result.failed else 1
        if publish:
            publish_result(result)
    return code


def _run(guest: Guest, revision: str, more: Sequence[str], say: Say) -> Result | None:
    """Run the tests that `more` names, else all; None: the guest ended before."""
    image = ensure_image(guest, say)
    named = tuple(each for each in more if each.startswith("tests/"))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        command = (*(() if named else TESTS), *OPTIONS, *more)
        console, versions, report = run_guest(
            image, command, Path(scratch), GUEST_SECONDS
        )
        say(console.read_text(errors="replace"))
        if not report.stat().st_size:
            return None
        return make_result(
            f"kernel={guest.version}",
            revision,
            json.loads(versions.read_text()),
            named or TESTS,
            read_outcomes([report]),
            time.monotonic() - begun,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
