"""Measure this project against its peers: `nox -s bench`, as root.

Each part runs in a process of its own, and one that fails leaves the others their
results. `--publish` puts what was found into docs/performance.md, docs/performance/.
"""

import argparse
import datetime as dt
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.bench import document, tables
from tests.bench.machine import ROOT, machine, versions
from tests.bench.plots import draw
from tests.bench.report import Report, Section, read_report, write_report
from tests.bench.run import Run, find_dataplane
from tests.lab.debian import unpacked
from tests.lab.go_build import PartMissingError
from tests.lab.parts import find_consul, find_envoy
from tests.lab.scratch import PREFIX

PARTS: tuple[str, ...] = (
    "connect",
    "streams",
    "xds",
    "dns",
    "failover",
    "scale",
    "start",
    "host",
    "fleet",
)
"""In the order of a whole run."""
LIMIT_SECONDS = 900.0
"""No part takes as long as this."""
PAGE = ROOT / "docs" / "performance.md"
PUBLISHED = ROOT / "docs" / "performance"


def main() -> None:
    """Measure what was asked for: by default everything."""
    asked = parse()
    if asked.one:
        measure_one(asked.one, asked.out, quick=asked.quick)
        return
    where = PUBLISHED if asked.publish else asked.out
    if asked.draw:
        report = read_report(where / "results.json")
    else:
        if os.geteuid() != 0:
            sys.exit("bench: it needs root, for programs and namespaces of its own")
        report = measure(asked.parts or list(PARTS), quick=asked.quick)
        if asked.publish and (PUBLISHED / "results.json").exists():
            report = merged(read_report(PUBLISHED / "results.json"), report)
        write_report(report, where / "results.json")
    draw(report, where)
    if asked.publish:
        PAGE.write_text(document.refresh(PAGE.read_text(), report))
    print(tables.text(report))
    print(f"\n{where / 'results.json'}; the plots are beside it")
    if report.failed:
        sys.exit(1)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {PARTS}")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--publish", action="store_true", help="into docs/")
    parser.add_argument("--draw", action="store_true", help="draw the last results")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(
            f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}"
        )
    if asked.publish and asked.quick:
        parser.error("a quick run's figures are not for the docs")
    return asked


def measure(parts: list[str], *, quick: bool) -> Report:
    """Measure each part in a process of its own."""
    find_dataplane()
    host, failed = machine(), dict[str, str]()
    sections: list[Section] = []
    for name in parts:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            found = Path(directory)
            command = [sys.executable, "-m", "tests.bench", "--one", name]
            command += ["--out", str(found), *(["--quick"] if quick else [])]
            failed |= {name: why} if (why := run_bounded(command)) else {}
            if (written := found / name).exists():
                sections.append(msgspec.json.decode(written.read_bytes(), type=Section))
    return Report(
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        quick=quick,
        machine=host,
        versions=versions(programs()),
        sections=tuple(sections),
        failed=failed,
    )


def run_bounded(command: list[str]) -> str:
    """Run a part to its end; return why it failed, empty if it did not.

    One that takes too long is interrupted as by Ctrl-C, so that it tidies up.
    """
    child = subprocess.Popen(command, cwd=ROOT)
    try:
        code = child.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        child.wait()
        return f"not done after {LIMIT_SECONDS:.0f} s"
    except KeyboardInterrupt:
        child.wait()  # it has had the signal, too
        raise
    return f"it ended with {code}; see above" if code else ""


def measure_one(name: str, out: Path, *, quick: bool) -> None:
    """Measure one part, here, and write what it found to `out`."""
    module = importlib.import_module(f"tests.bench.parts.{name.replace('-', '_')}")
    # A service that ends a session sends SIGTERM: what was begun is undone then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        begun = time.monotonic()
        found = module.measure(Run(Path(directory), quick, find_dataplane()))
        found = msgspec.structs.replace(found, seconds=time.monotonic() - begun)
    (out / name).write_bytes(msgspec.json.encode(found))


def merged(before: Report, report: Report) -> Report:
    """Return the new report with the sections of the one before that it lacks."""
    new = {section.name: section for section in report.sections}
    old = {section.name: section for section in before.sections}
    whole = {**old, **new}
    ordered = tuple(whole[name] for name in PARTS if name in whole)
    return msgspec.structs.replace(report, sections=ordered)


def programs() -> dict[str, list[str]]:
    """Return by name the command that prints the version of each program used."""
    known: dict[str, list[str]] = {}
    for name, found in (("Consul", find_consul()), ("Envoy", find_envoy())):
        if found:
            known[name] = [str(found), "--version"]
    for name, program, argument in (
        ("HAProxy", "haproxy", "-v"),
        ("nftables", "nft", "--version"),
    ):
        with suppress(PartMissingError):
            known[name] = [*unpacked().program(program), argument]
    if dataplane := find_dataplane():
        known["consul-dataplane"] = [str(dataplane), "-version"]
    return known


if __name__ == "__main__":
    main()
