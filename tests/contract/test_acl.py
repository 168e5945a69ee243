"""What every `Acl` does: the fake, and Consul's own over gRPC and HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consul_ebpf.client.acl import ConsulAcl
from consul_ebpf.client.calls import ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.values import Login, Server
from consul_ebpf.testing import FakeAcl
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.jwt import METHOD, Issuer

KINDS = ["fake", pytest.param("consul", marks=pytest.mark.consul)]
NEVER = "5e7f6f0c-0000-4000-8000-000000000000"


class Lab:
    """A Consul server with logins."""

    def __init__(self, cluster: ConsulCluster) -> None:
        self.cluster = cluster
        self.issuer = Issuer()
        self._methods: set[str] = set()

    def method(self, ttl: str) -> str:
        """Return an auth method whose tokens live so long."""
        name = f"tokens-of-{ttl}"
        if name not in self._methods:
            self._methods.add(name)
            self.issuer.install(self.cluster, ttl, name)
        return name


@pytest.fixture(scope="module")
def lab(consul_bin: Path) -> Iterator[Lab]:
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield Lab(cluster)


class Subject:
    """An `Acl`, and a login that it takes."""

    def __init__(self, acl: Acl, how: Login) -> None:
        self.acl = acl
        self.how = how

    async def arrived(self) -> str:
        """Log in, and wait until the server knows the token."""
        secret = await self.acl.login(self.how)
        while not await self.acl.accepted(secret):
            await asyncio.sleep(0.05)
        return secret


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """One whose tokens live as long as the test says: "0s" for ever, or "60s"."""
    mark = request.node.get_closest_marker("max_ttl")
    ttl = mark.args[0] if mark else "0s"
    if request.param == "fake":
        seconds = float(ttl.removesuffix("s"))
        life = Lifetime(seconds) if seconds else FOREVER
        yield Subject(FakeAcl(life), Login(METHOD, "the-bearer"))
        return
    lab: Lab = request.getfixturevalue("lab")
    method = lab.method(ttl)
    server = Server.at(lab.cluster.addresses[0], GRPC_PORT)
    calls = ServerCalls(lambda: [server], insecure_channel)
    acl = ConsulAcl(calls, lab.cluster.http_addresses)
    yield Subject(acl, Login(method, lab.issuer.jwt("web")))
    await calls.aclose()


async def test_each_login_makes_a_token_that_is_accepted(subject: Subject) -> None:
    """Another one each time."""
    secrets = {await subject.arrived() for _ in range(3)}
    assert len(secrets) == 3
    for secret in secrets:
        assert await subject.acl.accepted(secret)
        assert not await subject.acl.refused(secret)


async def test_a_token_is_gone_once_logged_out(subject: Subject) -> None:
    """Once more is no error; another token is as it was."""
    one, other = await subject.arrived(), await subject.arrived()
    await subject.acl.logout(one, subject.how)
    await subject.acl.logout(one, subject.how)
    assert await subject.acl.refused(one)
    assert not await subject.acl.accepted(one)
    assert await subject.acl.accepted(other)


async def test_a_token_that_never_was(subject: Subject) -> None:
    """Is refused, and can be logged out."""
    assert await subject.acl.refused(NEVER)
    assert not await subject.acl.accepted(NEVER)
    assert await subject.acl.lifetime(NEVER, subject.how) == UNKNOWN
    await subject.acl.logout(NEVER, subject.how)


async def test_for_ever_is_an_answer(subject: Subject) -> None:
    """Where the auth method says no MaxTokenTTL."""
    secret = await subject.arrived()
    assert await subject.acl.lifetime(secret, subject.how) == FOREVER


@pytest.mark.max_ttl("61s")
async def test_a_lifetime_is_told(subject: Subject) -> None:
    """From when the token was made, whenever it is asked."""
    secret = await subject.arrived()
    for _ in range(2):
        life = await subject.acl.lifetime(secret, subject.how)
        assert 60.5 < life.seconds < 61.5
        await asyncio.sleep(0.6)


async def test_a_login_without_a_bearer_token(subject: Subject) -> None:
    """An error that says what is missing."""
    with pytest.raises(ConsulError, match="set bearer_token or bearer_token_file"):
        await subject.acl.login(Login(subject.how.auth_method))
