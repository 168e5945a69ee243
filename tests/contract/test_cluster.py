"""What every `Cluster` does: the fake, and the API server's client over HTTPS."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from consul_ebpf.kubernetes.certificates.cluster import Cluster
from consul_ebpf.model.errors import ClusterError, ConflictError
from consul_ebpf.testing import FakeCluster
from tests.lab.api_server import Objects, api_server


class Subject(Protocol):
    """A `Cluster`, and what a test sees and changes in it."""

    @property
    def cluster(self) -> Cluster: ...
    def put_secret(self, name: str, data: dict[str, bytes]) -> None: ...
    def put_configuration(self, name: str, bundles: dict[str, bytes]) -> None: ...
    def secret(self, name: str) -> dict[str, bytes]: ...
    def bundles(self, name: str) -> dict[str, bytes]: ...


class Fake:
    """The one in memory."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()

    def put_secret(self, name: str, data: dict[str, bytes]) -> None:
        self.cluster.secrets[name] = data

    def put_configuration(self, name: str, bundles: dict[str, bytes]) -> None:
        self.cluster.configurations[name] = bundles

    def secret(self, name: str) -> dict[str, bytes]:
        return self.cluster.secrets[name]

    def bundles(self, name: str) -> dict[str, bytes]:
        return self.cluster.configurations[name]


class Served(Objects):
    """The client, asking over HTTPS."""

    cluster: Cluster


@pytest.fixture(params=["fake", "https"])
async def subject(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield Fake()
        return
    served = Served()
    async with api_server(served.answer, tmp_path) as served.cluster:
        yield served


async def test_a_secret_is_read_and_written(subject: Subject) -> None:
    """An empty one has no data, and whoever wrote it reads what was written."""
    subject.put_secret("ours", {})
    found = await subject.cluster.get_secret("ours")
    assert found.data == {}
    await subject.cluster.replace_secret("ours", replace(found, data={"a": b"\0\xff"}))
    assert subject.secret("ours") == {"a": b"\0\xff"}
    assert (await subject.cluster.get_secret("ours")).data == {"a": b"\0\xff"}


async def test_the_second_of_two_writers_is_told(subject: Subject) -> None:
    """By an error of its own, and the first one's data stays."""
    subject.put_secret("ours", {})
    first = await subject.cluster.get_secret("ours")
    second = await subject.cluster.get_secret("ours")
    await subject.cluster.replace_secret("ours", replace(first, data={"a": b"1"}))
    with pytest.raises(ConflictError):
        await subject.cluster.replace_secret("ours", replace(second, data={"a": b"2"}))
    assert subject.secret("ours") == {"a": b"1"}


async def test_bundles_are_read_and_set(subject: Subject) -> None:
    """Those named, and no others; a second writer of the same version is told."""
    subject.put_configuration("zz", {"one": b"", "two": b"before"})
    found = await subject.cluster.get_configuration("zz")
    assert found.bundles == {"one": b"", "two": b"before"}
    await subject.cluster.patch_bundles("zz", found.version, {"one": b"CA"})
    assert subject.bundles("zz") == {"one": b"CA", "two": b"before"}
    with pytest.raises(ConflictError):
        await subject.cluster.patch_bundles("zz", found.version, {"one": b"other"})
    assert subject.bundles("zz") == {"one": b"CA", "two": b"before"}


async def test_what_is_not_there_is_told_apart(subject: Subject) -> None:
    """By the status."""
    with pytest.raises(ClusterError) as secret:
        await subject.cluster.get_secret("none")
    with pytest.raises(ClusterError) as configuration:
        await subject.cluster.get_configuration("none")
    assert (secret.value.status, configuration.value.status) == (404, 404)
