"""Prometheus and its promtool, from Debian's package unpacked into the cache.

`python -m tests.lab.promtool` gets them there.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.go_build import PartMissingError
from tests.lab.parts import cache_directory

PACKAGE = "prometheus"
PROGRAMS = ("promtool", "prometheus")


def find_program(name: str) -> Path | None:
    """Look for one of `PROGRAMS` on PATH, then in the cache."""
    if found := shutil.which(name):
        return Path(found)
    cached = _cache() / name
    return cached if cached.exists() else None


def missing() -> str:
    """Return why they cannot be run; empty: they can."""
    lacking = [each for each in PROGRAMS if not find_program(each)]
    return f"no {lacking[0]}: python -m tests.lab.promtool" if lacking else ""


def ensure_programs() -> list[Path]:
    """Download and unpack the package, unless the programs are there.

    Raises:
        PartMissingError: apt has it not, or there is no apt.
    """
    if missing():
        _unpack(_cache())
    found = [path for each in PROGRAMS if (path := find_program(each))]
    if len(found) < len(PROGRAMS):
        raise PartMissingError(f"{missing()}: apt-get download {PACKAGE} failed")
    return found


def _unpack(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        # As this user: apt's own may not look into a home directory.
        get = ["apt-get", "-o", "APT::Sandbox::User=", "download", PACKAGE]
        if not _ran(get, scratch):  # the list is older than the archive, or not there
            _ran(["apt-get", "update", "-q"], scratch)
            _ran(get, scratch)
        for package in Path(scratch).glob("*.deb"):
            _ran(["dpkg-deb", "-x", str(package), "."], scratch)
        for name in PROGRAMS:
            made = Path(scratch) / "usr" / "bin" / name
            if made.exists():
                made.rename(target / name)


def _cache() -> Path:
    return cache_directory() / "promtool"


def _ran(command: list[str], folder: str) -> bool:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    try:
        print("Prometheus:", *ensure_programs())
    except PartMissingError as error:
        sys.exit(str(error))
