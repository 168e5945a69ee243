"""A machine of qemu's that boots an image with this checkout, and runs pytest in it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.go_build import PartMissingError
from tests.matrix.kernels.image import ROOT, Image

QEMU = "qemu-system-x86_64"
HERE = Path(__file__).parent
BUSYBOX = Path("/bin/busybox")
ARGUMENTS = "guest-arguments"
KERNEL_LINE = "console=ttyS0 panic=-1 quiet mitigations=off audit=0 nokaslr norandmaps"
"""A guest's processor has no secrets, and without KVM guarding them costs most."""
COMPILE_ONCE = "compile-once"
"""A word of the kernel's command line, for guest.sh: without KVM LLVM takes long."""


def run_guest(
    image: Image, pytest_arguments: Sequence[str], scratch: Path, seconds: float
) -> tuple[Path, Path, Path]:
    """Boot it, run pytest, and return what was written through its serial ports.

    The first is its console, the second its versions as JSON, the third what pytest
    said as JUnit's XML: empty if it did not come so far. It is ended after `seconds`.

    Raises:
        PartMissingError: qemu, cpio or busybox is missing.
    """
    if not (shutil.which(QEMU) and shutil.which("cpio") and BUSYBOX.exists()):
        raise PartMissingError(f"no {QEMU}, cpio or static busybox: run nox")
    ports = scratch / "console", scratch / "versions.json", scratch / "report.xml"
    drives = (
        # What the guest writes is forgotten.
        f"file={image.root},if=virtio,format=raw,snapshot=on",
        f"file={_checkout(pytest_arguments, scratch)},if=virtio,format=raw,readonly=on",
    )
    processor = _processor()
    words = [] if "kvm" in processor else [COMPILE_ONCE]
    command = [
        *(QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-machine", "q35"),
        *("-display", "none", "-nic", "none", "-smp", "1", "-m", "2048"),
        *("-kernel", str(image.kernel), "-initrd", str(_initramfs(image, scratch))),
        *("-append", " ".join([KERNEL_LINE, *words]), *processor),
        *(part for drive in drives for part in ("-drive", drive)),
        *(part for port in ports for part in ("-serial", f"file:{port}")),
    ]
    machine = subprocess.Popen(command, cwd=scratch)
    try:
        machine.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        machine.kill()
        machine.wait()
    return ports


def _processor() -> tuple[str, ...]:
    """Use KVM if the processor has what it needs; else each instruction is translated.

    A virtual machine without nested virtualisation may have a /dev/kvm for kernels that
    know of it (PVM). There any other kernel is interpreted in the host's kernel: after
    two and a half minutes Debian's had not printed its first line.

    Without KVM the guest's clock counts its instructions, so a host that is busy with
    other things makes no test fail; that takes one processor at a time.
    """
    flags = Path("/proc/cpuinfo").read_text().split()
    if os.access("/dev/kvm", os.W_OK) and {"vmx", "svm"} & set(flags):
        return ("-accel", "kvm", "-cpu", "host")
    clock = ("-icount", "shift=0")
    return ("-accel", "tcg,tb-size=1024", "-cpu", "Nehalem", *clock)


def _initramfs(image: Image, scratch: Path) -> Path:
    root = scratch / "initramfs"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin")
    shutil.copy(HERE / "init.sh", root / "init")
    shutil.copytree(image.modules, root / "modules")
    packed = scratch / "initramfs.cpio"
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    with packed.open("wb") as file:
        pack = ["cpio", "--quiet", "--create", "--format=newc"]
        subprocess.run(pack, cwd=root, input=names.encode(), stdout=file, check=True)
    return packed


def _checkout(pytest_arguments: Sequence[str], scratch: Path) -> Path:
    """Pack what git has or would have, and the arguments for the guest's pytest."""
    (scratch / ARGUMENTS).write_text("\0".join(pytest_arguments))
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*git, "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    names = [name for name in listed.stdout.split(b"\0") if name]
    there = b"\0".join(name for name in names if (ROOT / os.fsdecode(name)).exists())
    packed = scratch / "checkout.tar"
    tar = ["tar", "--create", "--file", str(packed), "--directory", str(scratch)]
    from_list = ["--directory", str(ROOT), "--null", "--files-from=-"]
    subprocess.run([*tar, ARGUMENTS, *from_list], input=there, check=True)
    return packed
