"""Debian's packages unpacked into the cache: their programs run, and start nothing.

`python -m tests.lab.debian` does it. What the host has installed in the version that
these packages need is taken from the host.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tests.lab.go_build import PartMissingError
from tests.lab.parts import cache_directory

PACKAGES = (
    "bind9-dnsutils",
    "busybox",
    "dnsmasq-base",
    "haproxy",
    "iptables",
    "iputils-ping",
    "musl-dev",
    "nftables",
    "strace",
    "systemd-resolved",
    "unbound",
)
PROGRAMS = (
    *("dig", "busybox", "dnsmasq", "iptables-nft", "ping", "systemd-resolved"),
    "unbound",
)


@dataclass(frozen=True)
class Unpacked:
    """Packages below a directory that is not the root."""

    root: Path

    def program(self, name: str) -> list[str]:
        """Return the command that runs a program with the libraries it came with.

        Raises:
            PartMissingError: it is neither here nor on this host.
        """
        folders = ["usr/bin", "bin", "usr/sbin", "sbin", "usr/lib/systemd"]
        for folder in [*folders, "lib/systemd"]:
            if (path := self.root / folder / name).exists():
                return ["env", f"LD_LIBRARY_PATH={self._libraries()}", str(path)]
        installed = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/lib/systemd"]
        if found := shutil.which(name, path=":".join(installed)):
            return [found]
        raise PartMissingError(f"no {name}: python -m tests.lab.debian")

    def iptables(self) -> list[str]:
        """As `program`, with the extensions that it came with."""
        command = self.program("iptables-nft")
        if Path(command[-1]).is_relative_to(self.root):
            for extensions in self.root.glob("usr/lib/*-linux-gnu/xtables"):
                command.insert(1, f"XTABLES_LIBDIR={extensions}")
        return command

    def musl(self) -> tuple[Path, Path]:
        """Return where musl's headers are, and its static library."""
        for root in (self.root, Path("/")):
            for library in root.glob("usr/lib/*-linux-musl"):
                return root / "usr/include" / library.name, library
        raise PartMissingError("no musl: python -m tests.lab.debian")

    def _libraries(self) -> str:
        folders = [*self.root.glob("usr/lib/*-linux-gnu"), *self.root.glob("lib/*-gnu")]
        private = [*self.root.glob("usr/lib/systemd"), *self.root.glob("lib/systemd")]
        nested = [each for folder in folders for each in folder.glob("systemd")]
        return ":".join(map(str, [*folders, *private, *nested]))


def unpacked() -> Unpacked:
    """Return what `ensure_packages` left in the cache, which may be nothing."""
    return Unpacked(cache_directory() / "debian")


def missing() -> str:
    """Return why a program or musl cannot be run; empty: all of them can."""
    try:
        for name in PROGRAMS:
            unpacked().program(name)
        unpacked().musl()
    except PartMissingError as error:
        return str(error)
    return "" if shutil.which("gcc") else "no gcc, to build a client of musl's"


def ensure_packages() -> Path:
    """Download and unpack what this host lacks, unless that was done.

    Raises:
        PartMissingError: apt has it not, or there is no apt.
    """
    if not shutil.which("apt-get"):
        raise PartMissingError("no apt-get: install " + " ".join(PACKAGES))
    target = unpacked().root
    done = target / "packages"
    wanted = _lacking()
    if done.exists() and done.read_text().split() == wanted:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch)
        try:
            _download(wanted, folder)
        except PartMissingError:  # of a list that is older than the archive
            _apt("update", "-q")
            wanted = _lacking()
            _download(wanted, folder)
        made = folder / "root"
        made.mkdir()
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, made], check=True)
        (made / "packages").write_text("\n".join(wanted))
        if target.exists():
            target.rename(folder / "before")
        made.rename(target)
    return target


def _lacking() -> list[str]:
    """Return what would have to be installed, as `name=version`."""
    ask = ["install", "--print-uris", "-qq", "--yes", "--no-install-recommends"]
    try:
        said = _apt(*ask, *PACKAGES)
    except PartMissingError:  # no list yet
        _apt("update", "-q")
        said = _apt(*ask, *PACKAGES)
    files = re.findall(r"^'\S+' (\S+)_([^_\s]+)_\w+\.deb ", said, re.MULTILINE)
    return [f"{name}={unquote(version)}" for name, version in files]


def _download(wanted: list[str], folder: Path) -> None:
    if wanted:
        # As this user: apt's own may not look into a home directory.
        _apt("-o", "APT::Sandbox::User=", "download", *wanted, folder=folder)


def _apt(*args: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        ["apt-get", *args], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word of why"]
        raise PartMissingError(f"apt-get {args[0]}: {words[-1]}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(f"Resolvers: {ensure_packages()}")
    except PartMissingError as error:
        sys.exit(str(error))
