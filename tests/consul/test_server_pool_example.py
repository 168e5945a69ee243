"""examples/server_pool.py does what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.consul import ConsulCluster

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.consul
def test_it_prints_the_servers_and_ends(consul_bin: Path) -> None:
    """After one change: the first list."""
    with ConsulCluster(consul_bin, size=1) as cluster:
        done = subprocess.run(
            [sys.executable, REPOSITORY / "examples" / "server_pool.py", "1"],
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "CONSUL_HTTP_ADDR": cluster.http_addresses[0],
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (0, "") == (done.returncode, done.stderr)
    assert f"{cluster.grpc_endpoints[0]} ready\n" == done.stdout
