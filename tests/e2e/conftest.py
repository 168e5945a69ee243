"""What tests of several files run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.consul import ConsulCluster
from tests.lab.mesh import Mesh
from tests.lab.secured import Secured


@pytest.fixture
def secured(
    request: pytest.FixtureRequest, consul_bin: Path, tmp_path: Path
) -> Iterator[Secured]:
    """With tokens that live a minute, or as long as its parameter says."""
    lifetime = getattr(request, "param", "60s")
    with Secured.running(consul_bin, tmp_path, lifetime) as running:
        yield running


@pytest.fixture
def mesh(
    request: pytest.FixtureRequest, consul_bin: Path, envoy_bin: Path
) -> Iterator[Mesh]:
    """Three servers and three connected proxies; the endpoint is at LISTEN, if any."""
    listen = getattr(request.module, "LISTEN", "")
    config = {"api": {"listen": listen}} if listen else {}
    with (
        ConsulCluster(consul_bin) as cluster,
        Mesh(cluster, envoy_bin, proxies=3, config=config) as mesh,
    ):
        mesh.start_envoys(20)
        yield mesh
