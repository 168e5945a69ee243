"""What a lab that was killed outright left is removed by the next run of tests."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.lab.leftovers import sweep
from tests.lab.scratch import scratch_bpffs

pytestmark = pytest.mark.kernel


def test_a_bpffs_of_a_dead_lab_goes_and_one_of_ours_stays() -> None:
    """A BPF file system refuses to look up a cluster's record, for its dot."""
    with scratch_bpffs() as ours:
        dead = Path(tempfile.mkdtemp(prefix=f"consul-ebpf-lab-{nobody()}-"))
        subprocess.run(["mount", "-t", "bpf", "bpf", dead], check=True)
        sweep()
        assert not dead.exists()
        assert os.path.ismount(ours)


def nobody() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen(["true"]) as child:
        return child.pid
