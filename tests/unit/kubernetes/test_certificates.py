"""The TLS contexts that the webhook serves with."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.pem import certificates
from consul_ebpf.base.tasks import keep_running
from consul_ebpf.kubernetes.certificates.authority import material_in
from consul_ebpf.kubernetes.certificates.cluster import Secret
from consul_ebpf.kubernetes.certificates.issuing import Certificate
from consul_ebpf.kubernetes.certificates.own import OwnCertificates, service_names
from consul_ebpf.kubernetes.certificates.server_tls import (
    CertificateFiles,
    Certificates,
    following,
)
from consul_ebpf.model.errors import ClusterError
from consul_ebpf.testing import FakeCluster
from tests.lab.certificates import Authority, Issued

SECRET, CONFIGURATION = "consul-ebpf-webhook", "zz-consul-ebpf"
NAMES = service_names("hook", "consul")
START = time.time()  # OpenSSL looks at the real clock
DAY = 86400.0

looptime = pytest.mark.looptime


def installed() -> FakeCluster:
    """Return a cluster after the chart: an empty Secret, a configuration."""
    cluster = FakeCluster()
    cluster.secrets[SECRET] = {}
    cluster.configurations[CONFIGURATION] = {"pods": b""}
    return cluster


def replica(cluster: FakeCluster, *, later: float = 0.0) -> OwnCertificates:
    """Return a replica's part, whose clock is the loop's, some seconds later."""
    begun = asyncio.get_running_loop().time()
    return OwnCertificates(
        cluster,
        secret=SECRET,
        configuration=CONFIGURATION,
        names=NAMES,
        clock=lambda: START + later + asyncio.get_running_loop().time() - begun,
    )


@asynccontextmanager
async def running(*parts: Certificates) -> AsyncIterator[None]:
    """Run these as the webhook does."""
    tasks = [asyncio.create_task(keep_running("certificates", p.run)) for p in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def bundle(cluster: FakeCluster) -> bytes:
    return cluster.configurations[CONFIGURATION]["pods"]


def handshake(server: ssl.SSLContext, trusted: bytes, name: str) -> str:
    """Shake hands in memory; return why the client refused, empty if it did not."""
    client = ssl.create_default_context(cadata=trusted.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        try:
            ours.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        except ssl.SSLError as error:
            return error.reason
        with contextlib.suppress(ssl.SSLError):
            theirs.do_handshake()
    return ""


def trusts(trusted: bytes, part: OwnCertificates) -> bool:
    """Whether one of these CAs signed what a replica serves, whatever the time is."""
    assert part.context.value is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ours = client.wrap_bio(to_client, to_server)
    theirs = part.context.value.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for each in (ours, theirs):
            with contextlib.suppress(ssl.SSLWantReadError):
                each.do_handshake()
    der = ours.getpeercert(binary_form=True)
    assert der
    leaf = Certificate(ssl.DER_cert_to_PEM_cert(der))
    return any(Certificate(pem).issued(leaf) for pem in certificates(trusted))


@looptime
async def test_an_empty_secret_is_filled() -> None:
    """The configuration trusts it before it is served, by each of its names."""
    cluster = installed()
    part = replica(cluster)
    async with running(part):
        await part.context.changed_since(0, 10)
        assert cluster.writes == [f"Secret {SECRET}", f"configuration {CONFIGURATION}"]
        assert part.context.value is not None
        for name in NAMES:
            assert handshake(part.context.value, bundle(cluster), name) == ""


@looptime
async def test_replicas_that_start_together_serve_one_certificate() -> None:
    """Whoever writes second reads what the first wrote; each serves what it says."""
    cluster = installed()
    parts = [replica(cluster) for _ in range(5)]
    async with running(*parts):
        await asyncio.sleep(1)
        held = material_in(cluster.secrets[SECRET])
        assert held is not None
        assert bundle(cluster) == held.bundle.encode()
        assert cluster.writes.count(f"Secret {SECRET}") == 1
        for part in parts:
            assert part.context.value is not None
            assert handshake(part.context.value, bundle(cluster), NAMES[0]) == ""


@looptime
async def test_a_conflict_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    """Another replica writes between this one's read and its write."""

    class Racing(FakeCluster):
        """Another replica writes right after the first read."""

        raced = False

        async def get_secret(self, name: str) -> Secret:
            found = await super().get_secret(name)
            if not self.raced:
                self.raced = True
                self.secrets[SECRET] = winner
            return found

    other = installed()
    async with running(replica(other)):
        await asyncio.sleep(1)
    winner = other.secrets[SECRET]
    cluster = Racing()
    cluster.secrets[SECRET] = {}
    cluster.configurations[CONFIGURATION] = {"pods": b""}
    part = replica(cluster)
    async with running(part):
        await asyncio.sleep(1)
    assert cluster.secrets[SECRET] == winner
    assert part.context.value is not None
    assert handshake(part.context.value, winner["ca.crt"], NAMES[0]) == ""
    assert [each for each in caplog.records if each.levelname != "INFO"] == []


@looptime
@pytest.mark.parametrize("damage", [b"", b"-----BEGIN nonsense", b"another CA"])
async def test_fault_k_a_bundle_that_was_changed_is_mended_within_a_minute(
    damage: bytes,
) -> None:
    """Blanked, or replaced by something else; also those of further webhooks."""
    cluster = installed()
    part = replica(cluster)
    async with running(part):
        await asyncio.sleep(1)
        right = bundle(cluster)
        cluster.configurations[CONFIGURATION] = {"pods": damage, "more": b""}
        await asyncio.sleep(60)
        assert cluster.configurations[CONFIGURATION] == dict.fromkeys(
            ["pods", "more"], right
        )
        assert part.context.version == 1


@looptime
async def test_a_configuration_that_is_installed_later() -> None:
    """It is served at once, and trusted two seconds after the other is there."""
    cluster = installed()
    before = cluster.configurations.pop(CONFIGURATION)
    part = replica(cluster)
    async with running(part):
        await asyncio.sleep(100)
        assert part.context.value is not None
        cluster.configurations[CONFIGURATION] = before
        await asyncio.sleep(2)
        assert handshake(part.context.value, bundle(cluster), NAMES[0]) == ""


@looptime
async def test_fault_k_a_secret_that_was_emptied_gets_back_what_is_served() -> None:
    """So no replica is untrusted meanwhile; a damaged one likewise."""
    cluster = installed()
    parts = [replica(cluster), replica(cluster)]
    async with running(*parts):
        await asyncio.sleep(1)
        before = cluster.secrets[SECRET]
        cluster.secrets[SECRET] = {}
        await asyncio.sleep(61)
        assert cluster.secrets[SECRET] == before
        cluster.secrets[SECRET] = {**before, "tls.key": b"damaged"}
        await asyncio.sleep(61)
        assert cluster.secrets[SECRET] == before
        assert [part.context.version for part in parts] == [1, 1]


@looptime
async def test_fault_k_a_new_certificate_is_served_by_every_replica() -> None:
    """A minute after it is due, without a restart, and the CA stays."""
    cluster = installed()
    parts = [replica(cluster, later=-60 * DAY + 90) for _ in range(2)]
    async with running(*parts):
        await asyncio.sleep(1)
        first, trusted = cluster.secrets[SECRET], bundle(cluster)
    parts = [replica(cluster), replica(cluster)]
    async with running(*parts):
        await asyncio.sleep(1)
        assert cluster.secrets[SECRET] == first
        await asyncio.sleep(180)
        assert cluster.secrets[SECRET]["tls.crt"] != first["tls.crt"]
        assert [part.context.version for part in parts] == [2, 2]
        assert bundle(cluster) == trusted
        assert cluster.writes.count(f"Secret {SECRET}") == 2


@looptime
async def test_a_new_authority_leaves_no_moment_untrusted() -> None:
    """Checked of both replicas, while one CA takes the other's place."""
    cluster = installed()
    async with running(replica(cluster)):
        await asyncio.sleep(1)
    years = 3650 * DAY - 180 * DAY
    parts: list[OwnCertificates] = []
    seen = set()
    for step in range(9):  # eight hours each
        parts = [replica(cluster, later=years + (step - 1) * 8 * 3600)]
        parts.append(replica(cluster, later=years + (step - 1) * 8 * 3600 + 45))
        async with running(*parts):
            for _ in range(12):
                await asyncio.sleep(10)
                seen.add(bundle(cluster).count(b"BEGIN"))
                for part in parts:
                    assert trusts(bundle(cluster), part)
    assert seen == {1, 2}
    held = material_in(cluster.secrets[SECRET])
    assert held is not None
    assert len(held.authorities) == 1


@looptime
async def test_fault_k_while_the_api_server_is_away_the_old_one_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said once, and mended when it is back."""
    cluster = installed()
    part = replica(cluster)
    async with running(part):
        await asyncio.sleep(1)
        cluster.trouble = ClusterError("Kubernetes at https://x: no answer")
        cluster.configurations[CONFIGURATION]["pods"] = b""
        await asyncio.sleep(3600)
        assert part.context.value is not None
        assert len([each for each in caplog.records if "no answer" in each.message]) < 3
        cluster.trouble = None
        await asyncio.sleep(61)
        assert handshake(part.context.value, bundle(cluster), NAMES[0]) == ""


@looptime
async def test_no_secret_is_an_error_that_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The chart makes it; the webhook may not."""
    cluster = installed()
    del cluster.secrets[SECRET]
    part = replica(cluster)
    async with running(part):
        await asyncio.sleep(10)
        assert part.context.value is None
        cluster.secrets[SECRET] = {}
        await asyncio.sleep(61)
        assert part.context.value is not None
    assert "started again" in caplog.text


async def test_a_listener_takes_each_connection_with_the_newest() -> None:
    """Also without SNI, and refuses all while there is none."""
    newest: Latest[ssl.SSLContext] = Latest()
    listener = following(newest)
    cluster = installed()
    assert handshake(listener, Authority().pem.encode(), NAMES[0]) != ""
    for _ in range(2):
        cluster.secrets[SECRET] = {}
        part = replica(cluster)
        async with running(part):
            await part.context.changed_since(0, 10)
        assert part.context.value is not None
        newest.set(part.context.value)
        assert handshake(listener, bundle(cluster), NAMES[0]) == ""
        why = handshake(listener, bundle(cluster), "127.0.0.1")
        assert "IP address mismatch" in why


def put(directory: Path, issued: Issued) -> None:
    for name, text in (("tls.crt", issued.cert), ("tls.key", issued.key)):
        (directory / "new").write_text(text)
        (directory / "new").replace(directory / name)


@looptime
async def test_files_are_followed(tmp_path: Path) -> None:
    """A new pair is served after some seconds; half of one is not."""
    authority = Authority()
    put(tmp_path, authority.issue(NAMES))
    part = CertificateFiles(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    async with running(part):
        await part.context.changed_since(0, 10)
        second = authority.issue(NAMES)
        (tmp_path / "tls.crt").write_text(second.cert)
        await asyncio.sleep(10)
        assert part.context.version == 1
        put(tmp_path, second)
        await asyncio.sleep(10)
        assert part.context.version == 2
        assert part.context.value is not None
        assert handshake(part.context.value, authority.pem.encode(), NAMES[0]) == ""


def test_the_secret_is_never_shown() -> None:
    """Not by anything that a log line could hold."""
    part = OwnCertificates(
        installed(), secret=SECRET, configuration=CONFIGURATION, names=NAMES
    )
    assert repr(part) == "<OwnCertificates in Secret consul-ebpf-webhook>"
