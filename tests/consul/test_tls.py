"""The controller's own TLS, gRPC and HTTPS, against real servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consul_ebpf import Health, Server
from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.client.channels import TlsChannels
from consul_ebpf.client.http import ConsulHttp
from consul_ebpf.client.transport import Https
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.http_address import HttpAddress
from consul_ebpf.servers.probe import GrpcProbe
from tests.lab.certificates import FOUND, Authority, Issued, Kind
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls

pytestmark = pytest.mark.consul

NAME = "server.dc1.consul"


@contextmanager
def serving(
    consul: Path, authority: Authority, issued: Issued, *, verify_incoming: bool = False
) -> Iterator[ConsulCluster]:
    tls = ServerTls(authority.pem, issued, verify_incoming)
    with ConsulCluster(consul, size=1, tls=tls) as cluster:
        yield cluster


async def probe(cluster: ConsulCluster, files: TlsFiles, name: str = NAME) -> Health:
    """Probe once, with channels of its own."""
    channels = TlsChannels(files, name)
    probe = GrpcProbe(timeout=5, channel_factory=channels, explain=channels.explain)
    try:
        return await probe.check(Server.at(cluster.addresses[0], GRPC_TLS_PORT))
    finally:
        await probe.aclose()
        await channels.aclose()


async def ask(cluster: ConsulCluster, https: Https) -> list[str]:
    """Ask over HTTPS for the peers."""
    async with ConsulHttp(
        HttpAddress.parse(cluster.https_addresses[0]), https=https
    ) as consul:
        peers: list[str] = await consul.status.peers()
        return peers


def trusting(directory: Path, authority: Authority) -> TlsFiles:
    (directory / "ca.pem").write_text(authority.pem)
    return TlsFiles(ca_certs=str(directory / "ca.pem"))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
async def test_every_kind_of_certificate(
    consul_bin: Path, tmp_path: Path, kind: Kind
) -> None:
    """Verified by name; another name is refused and named, on both ports."""
    authority = Authority(kind)
    files = trusting(tmp_path, authority)
    with serving(consul_bin, authority, authority.issue()) as cluster:
        assert (await probe(cluster, files)).alive
        wrong = await probe(cluster, files, "server.dc2.consul")
        assert not wrong.alive
        assert "certificate is not valid for 'server.dc2.consul'" in wrong.reason
        assert await ask(cluster, Https(files, NAME))
        # The servers' addresses are in no certificate; their common name will do.
        assert await ask(cluster, Https(files, or_else=NAME))
        with pytest.raises(ConsulError, match=r"IP address mismatch.*http_server_name"):
            await ask(cluster, Https(files))
        with pytest.raises(ConsulError, match=r"not valid for 'server.dc2.consul'"):
            await ask(cluster, Https(files, "server.dc2.consul"))


async def test_what_is_not_trusted_is_refused_and_named(
    consul_bin: Path, tmp_path: Path
) -> None:
    """Somebody else's CA, the system's, and none at all by decision."""
    authority = Authority()
    foreign = trusting(tmp_path, Authority())
    with serving(consul_bin, authority, authority.issue()) as cluster:
        for files in (foreign, TlsFiles()):
            health = await probe(cluster, files)
            assert not health.alive
            assert "unable to get local issuer certificate" in health.reason or (
                "certificate signature failure" in health.reason
            )
            assert "consul.tls.ca_certs" in health.reason
            with pytest.raises(ConsulError, match=r"its certificate: .*ca_certs"):
                await ask(cluster, Https(files, NAME))
        anybody = TlsFiles(verify=False)
        assert (await probe(cluster, anybody, "whatever")).alive
        assert await ask(cluster, Https(anybody))


async def test_fault_56_an_expired_certificate(
    consul_bin: Path, tmp_path: Path
) -> None:
    """Consul itself does not look at its own; we do."""
    authority = Authority()
    files = trusting(tmp_path, authority)
    with serving(consul_bin, authority, authority.issue()) as cluster:
        expired = authority.issue(expired=True)
        cluster.replace_tls(ServerTls(authority.pem, expired))
        health = await probe(cluster, files)
        assert not health.alive
        assert "certificate has expired" in health.reason


async def test_a_client_certificate(consul_bin: Path, tmp_path: Path) -> None:
    """Where the servers ask for one; without it they hang up."""
    authority = Authority()
    files = trusting(tmp_path, authority)
    mine = authority.issue(("client.dc1.consul",))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(mine.cert)
    key.write_text(mine.key)
    known = TlsFiles(ca_certs=str(tmp_path / "ca.pem"), cert=str(cert), key=str(key))
    issued = authority.issue()
    with serving(consul_bin, authority, issued, verify_incoming=True) as cluster:
        assert (await probe(cluster, known)).alive
        health = await probe(cluster, files)
        assert not health.alive
        assert "CERTIFICATE" in health.reason.upper(), health.reason


async def test_fault_56_files_are_read_again(consul_bin: Path, tmp_path: Path) -> None:
    """A CA is replaced step by step; every new connection uses what is there now."""
    old, new = Authority(), Authority("rsa")
    files = trusting(tmp_path, old)
    with serving(consul_bin, old, old.issue()) as cluster:
        assert (await probe(cluster, files)).alive
        (tmp_path / "ca.pem").write_text("half of a")
        assert (await probe(cluster, files)).alive
        cluster.replace_tls(ServerTls(old.pem + new.pem, new.issue()))
        assert not (await probe(cluster, files)).alive
        (tmp_path / "ca.pem").write_text(new.pem)
        assert (await probe(cluster, files)).alive


@pytest.mark.parametrize("chain", [True, False], ids=["with it", "leaf alone"])
async def test_fault_120_the_intermediate_is_all_there_is(
    consul_bin: Path, tmp_path: Path, chain: bool
) -> None:
    """What Vault gives as issuing_ca; whether or not the servers show it, too."""
    root = Authority()
    authority = root.intermediate()
    issued = authority.issue()
    shown = issued.cert + authority.pem if chain else issued.cert
    files = trusting(tmp_path, authority)
    with serving(consul_bin, root, Issued(shown, issued.key)) as cluster:
        health = await probe(cluster, files)
        assert health.alive, health.reason
        assert await ask(cluster, Https(files, NAME))
        stranger = await probe(cluster, trusting(tmp_path, root.intermediate()))
        assert not stranger.alive


async def test_fault_123_the_probe_finds_the_names_that_envoy_finds(
    consul_bin: Path, tmp_path: Path
) -> None:
    """One server whose certificate changes; tests/e2e/test_tls_live.py has Envoy."""
    authority = Authority()
    files = trusting(tmp_path, authority)
    with serving(consul_bin, authority, authority.issue()) as cluster:
        for sans, name, expected in FOUND:
            issued = authority.issue(sans, subject=name)
            cluster.replace_tls(ServerTls(authority.pem, issued))
            health = await probe(cluster, files, name)
            assert expected == health.alive, (sans, name, health.reason)
