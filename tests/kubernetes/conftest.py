"""One cluster for all tests that do not need their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.served import ServedPods


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that start a cluster of their own: a host has one."""
    items.sort(key=lambda item: "mesh" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def mesh(consul_bin: Path, envoy_bin: Path) -> Iterator[PodsMesh]:
    with PodsMesh(consul_bin, envoy_bin) as running:
        yield running


@pytest.fixture(scope="session")
def served(mesh: PodsMesh) -> Iterator[ServedPods]:
    with ServedPods(mesh) as running:
        yield running
