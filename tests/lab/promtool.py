"""Prometheus' promtool, from Debian's package unpacked into the cache.

`python -m tests.lab.promtool` gets it there.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.go_build import PartMissingError
from tests.lab.parts import cache_directory

PACKAGE = "prometheus"


def find_promtool() -> Path | None:
    """Look on PATH, then in the cache."""
    if found := shutil.which("promtool"):
        return Path(found)
    return _cached() if _cached().exists() else None


def missing() -> str:
    """Return why it cannot be run; empty: it can."""
    return "" if find_promtool() else "no promtool: python -m tests.lab.promtool"


def ensure_promtool() -> Path:
    """Download and unpack the package, unless promtool is there.

    Raises:
        PartMissingError: apt has it not, or there is no apt.
    """
    if found := find_promtool():
        return found
    target = _cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # As this user: apt's own may not look into a home directory.
        get = ["apt-get", "-o", "APT::Sandbox::User=", "download", PACKAGE]
        if not _ran(get, scratch):  # the list is older than the archive, or not there
            _ran(["apt-get", "update", "-q"], scratch)
            _ran(get, scratch)
        for package in Path(scratch).glob("*.deb"):
            _ran(["dpkg-deb", "-x", str(package), "."], scratch)
        made = Path(scratch) / "usr" / "bin" / "promtool"
        if not made.exists():
            raise PartMissingError(f"promtool: apt-get download {PACKAGE} failed")
        made.rename(target)
    return target


def _cached() -> Path:
    return cache_directory() / "promtool" / "promtool"


def _ran(command: list[str], folder: str) -> bool:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    try:
        print(f"promtool: {ensure_promtool()}")
    except PartMissingError as error:
        sys.exit(str(error))
