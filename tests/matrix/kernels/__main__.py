"""`python -m tests.matrix.kernels [VERSION…] [-- PYTEST ARGUMENTS]`: all, or those.

A guest's console is shown when it has ended.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.lab.go_build import PartMissingError, Say
from tests.matrix.junit import read_outcomes, seen
from tests.matrix.kernels.guests import GUESTS, Guest
from tests.matrix.kernels.image import ensure_image
from tests.matrix.kernels.machine import run_guest

GUEST_SECONDS = 4 * 3600.0
"""Without KVM each instruction is translated, and a load of the program takes 10 s."""
TESTS = ("tests/kernel",)
OPTIONS = (
    *("-p", "no:cacheprovider", "--color=no", "--timeout=1500"),
    *("-m", "kernel and not consul and not envoy and not alone"),
)


def main(arguments: list[str]) -> int:
    """Run them; return the exit code: 1 if a test failed or a part is missing."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    versions, more = arguments[:at] or list(GUESTS), arguments[at + 1 :]
    if unknown := set(versions) - set(GUESTS):
        raise SystemExit(f"no kernel {unknown}: there are {', '.join(GUESTS)}")
    say = partial(print, flush=True)
    # A run that is told to stop still ends its guest.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return max(_run(GUESTS[version], more, say) for version in versions)
    except PartMissingError as error:
        raise SystemExit(str(error)) from None


def _run(guest: Guest, more: Sequence[str], say: Say) -> int:
    """Run the tests that `more` names, else all; return the exit code."""
    image = ensure_image(guest, say)
    paths = () if any(each.startswith("tests/") for each in more) else TESTS
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        command = (*paths, *OPTIONS, *more)
        console, report = run_guest(image, command, Path(scratch), GUEST_SECONDS)
        say(console.read_text(errors="replace"))
        if not report.stat().st_size:
            say(f"kernel {guest.version}: it ended before pytest did")
            return 1
        outcomes = read_outcomes([report])
    counts = [
        f"{len(seen(outcomes, outcome))} {outcome}"
        for outcome in ("passed", "failed", "skipped")
    ]
    minutes = (time.monotonic() - begun) / 60
    say(f"kernel {guest.version}: {', '.join(counts)} in {minutes:.0f} minutes")
    return 1 if seen(outcomes, "failed") or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
