"""Find Kubernetes' and containerd's binaries; build them where there are none.

`python -m tests.lab.kubernetes.binaries` builds them if needed and says where they are;
with `--needs` it says which package of PyPI's has to be installed before.
"""

import hashlib
import os
import sys
import tempfile
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
from tests.lab.parts import cache_directory

VERSION = "1.37.2"
_MAJOR, _MINOR, _ = VERSION.split(".")

VARIABLE = "KUBERNETES_BIN"
"""The environment's name for a directory that has all of them."""

_HERE = Path(__file__).parent
_KUBERNETES = _HERE / "kubernetes-binaries"
_CONTAINERD = _HERE / "containerd-binaries"

# A program that does not say its version is refused by the others.
_STAMP = {"gitVersion": f"v{VERSION}", "gitMajor": _MAJOR, "gitMinor": _MINOR}
_STAMPED = " ".join(
    ["-s -w"]
    + [f"-X k8s.io/component-base/version.{key}={at}" for key, at in _STAMP.items()]
)

COMMANDS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
PROGRAMS = ("etcd", *COMMANDS, *CONTAINERD)

ETCD = GoBuild("etcd", _KUBERNETES, ("go.etcd.io/etcd/server/v3",), cgo=True)
KUBERNETES = GoBuild(
    f"Kubernetes {VERSION}",
    _KUBERNETES,
    tuple(f"k8s.io/kubernetes/cmd/{command}" for command in COMMANDS),
    _STAMPED,
    cgo=True,
)
SHIMS = GoBuild(
    "containerd",
    _CONTAINERD,
    tuple(f"github.com/containerd/containerd/v2/cmd/{name}" for name in CONTAINERD),
)
# Files are named by their packages; that of etcd's is its module's root.
BUILDS = ((ETCD, "etcd"), (KUBERNETES, ""), (SHIMS, ""))


def cached() -> Path:
    """Return where they are built to: named by all that says what is built."""
    digest = hashlib.sha256()
    for module in (_KUBERNETES, _CONTAINERD):
        digest.update((module / "go.sum").read_bytes())
    for what, _ in BUILDS:
        digest.update(" ".join([*what.flags, *what.packages]).encode())
    return cache_directory() / f"kubernetes-{digest.hexdigest()[:16]}"


def find() -> Path | None:
    """Look at $KUBERNETES_BIN, then into the cache; a directory with all of them."""
    given = os.environ.get(VARIABLE)
    directory = Path(given) if given else cached()
    if all(os.access(directory / program, os.X_OK) for program in PROGRAMS):
        return directory
    if given:
        raise PartMissingError(f"{VARIABLE}={given} has not all of {PROGRAMS}")
    return None


def ensure(say: Say = print) -> Path:
    """Find them or build them into the cache, telling `say` how far it is.

    Raises:
        PartMissingError: there is no usable Go, or a build failed.
    """
    if found := find():
        return found
    go = require_go("Kubernetes", VARIABLE)
    target = cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"Building Kubernetes {VERSION} into {target}; once, 10 to 15 minutes.")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # All binaries or none: an interrupted build leaves nothing to be found.
        built = Path(scratch) / "built"
        built.mkdir()
        for what, file in BUILDS:
            say(f" {what.name}")
            build(go, what, built / file, Path(scratch) / "log", say)
        built.rename(target)
    return target


if __name__ == "__main__":
    try:
        if "--needs" in sys.argv:
            print("" if find() or find_go() else GO_PACKAGE)
        else:
            print(f"Kubernetes: {ensure(partial(print, flush=True))}")
    except PartMissingError as error:
        sys.exit(str(error))
