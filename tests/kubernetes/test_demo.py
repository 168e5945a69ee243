"""`nox -s demo-kubernetes` tells the truth."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]

ROOT = Path(__file__).parents[2]


def test_all_that_the_demonstration_tells_happens() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.kubernetes.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(told.stdout)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "All of it happened." in told.stdout
