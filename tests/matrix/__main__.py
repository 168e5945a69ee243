"""`python -m tests.matrix [CASE…] [-- PYTEST ARGUMENTS]`: all cases, or those named.

A case is such as `consul=1.18.2` or `consul=1.18.2,envoy=1.36.4`. With `--publish` the
results of whole cases go to docs/compatibility.json, and from there into the page.
"""

import sys
from functools import partial

from tests.bench.machine import commit
from tests.lab.go_build import PartMissingError
from tests.matrix.cases import CASES, parse_case
from tests.matrix.page import publish_result
from tests.matrix.results import told
from tests.matrix.run import NotRunError, run_case


def main(arguments: list[str]) -> int:
    """Run them; return the exit code: 1 if a test failed or a part is missing."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    asked, more = arguments[:at], arguments[at + 1 :]
    publish = "--publish" in asked
    if publish and more:
        raise SystemExit("--publish is for whole cases: no arguments to pytest")
    try:
        names = [name for name in asked if name != "--publish"]
        cases = [parse_case(name) for name in names] or CASES
    except ValueError as error:
        raise SystemExit(str(error)) from None
    say = partial(print, flush=True)
    revision = commit()
    code = 0
    for case in cases:
        say(f"== {case.name}")
        try:
            result = run_case(case, revision, more, say)
        except (PartMissingError, NotRunError) as error:
            say(f"{case.name} NOT RUN: {error}")
            code = 1
            continue
        say(told(result))
        code = 1 if result.failed else code
        if publish:
            publish_result(result)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
