"""The loader on the Pythons that a distribution may have BCC for."""

import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from consul_ebpf.kernel import codec
from consul_ebpf.kernel.loader import load_program
from consul_ebpf.kernel.program import CONNECT
from consul_ebpf.kernel.tables import close_tables, make_tables
from tests.lab.scratch import scratch_bpffs

pytestmark = pytest.mark.kernel

DISTRIBUTION = Path("/usr/lib/python3/dist-packages")
"""Where BCC is: pure Python, so other versions can import it, too."""


def pythons() -> list[Path]:
    """Return interpreters that were built beside the distribution's, one a version."""
    found = Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3")
    return sorted(found, key=lambda path: path.parts[-3])


@pytest.mark.parametrize("python", pythons() or [None], ids=str)
def test_fault_104_the_program_is_loaded_by_another_python(
    python: Path | None, tmp_path: Path
) -> None:
    """Older and newer ones than ours; the first that has BCC."""
    if python is None:
        pytest.skip("no other Python is in ~/.pyenv/versions")
    with_bcc = tmp_path / "python3"
    with_bcc.write_text(f'#!/bin/sh\nPYTHONPATH={DISTRIBUTION} exec {python} "$@"\n')
    with_bcc.chmod(0o755)
    asked = subprocess.run([with_bcc, "-c", "import bcc"], check=False)
    if asked.returncode:
        pytest.skip(f"{python} cannot import the distribution's BCC")
    with scratch_bpffs() as bpffs:
        program = CONNECT.sized(vips=1)
        close_tables(make_tables(program, bpffs))
        defined = codec.defines(IPv4Network("127.64.0.0/10"), 8502, 1.0, 1)
        tried = ["/nowhere/python3", str(python), str(with_bcc)]
        load_program(program, defined, bpffs, bpffs, pythons=tried)
        for hook in program.hooks:
            assert (bpffs / hook).exists()
