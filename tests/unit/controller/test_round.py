"""One round: what cannot be written or reached is told, and hurts nobody else."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest

from consul_ebpf import (
    Binding,
    BootstrapFiles,
    EnvoyBootstrap,
    PooledServer,
    Proxy,
    Server,
    ServerState,
)
from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.round import Converged, Converger
from consul_ebpf.kernel.pods import UNBOUND, place_of
from consul_ebpf.proxies.memory import VipMemory
from consul_ebpf.testing.maps import MemoryMapBackend

FOUR = PooledServer(Server.at("10.0.0.1", 8502), ServerState.READY)
SIX = PooledServer(Server.at("fd00::1", 8502), ServerState.READY)
WEB = Proxy("web", "host1", owner="test")
MAPPED = Proxy("six", "host1", owner="test", vip=IPv6Address("::ffff:127.64.0.9"))


def converger(directory: Path, backend: MemoryMapBackend) -> Converger:
    return Converger(
        backend=backend,
        renderer=EnvoyBootstrap(),
        files=BootstrapFiles(directory),
        memory=VipMemory(directory),
        network=IPv4Network("127.64.0.0/10"),
        port=8502,
        seed="host",
    )


def test_fault_64_a_file_that_cannot_be_written_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are written; the round says it is not complete; then it is."""
    (tmp_path / "web").write_text("in the way of a directory")
    backend = MemoryMapBackend()
    host = converger(tmp_path, backend)
    inputs = Inputs((FOUR,), (WEB, Proxy("api", "host1")))
    done = host.converge(inputs)
    assert done == Converged(servers=1, proxies=2, refused=1, complete=False)
    assert (tmp_path / "api" / "bootstrap.json").is_file()
    assert len(backend.read().table.vips) == 2
    assert host.converge(inputs) == done
    assert [str(tmp_path / "web") in text for text in caplog.messages].count(True) == 1

    (tmp_path / "web").unlink()
    assert host.converge(inputs) == Converged(servers=1, proxies=2, refused=0)
    assert (tmp_path / "web" / "bootstrap.json").is_file()


@pytest.mark.parametrize(
    ("server", "lost", "family"), [(FOUR, "six", "IPv6"), (SIX, "web", "IPv4")]
)
def test_a_vip_of_a_family_no_server_has_is_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    server: PooledServer,
    lost: str,
    family: str,
) -> None:
    """Once, with what to do; it is programmed, for a server may come."""
    backend = MemoryMapBackend()
    host = converger(tmp_path, backend)
    for _ in range(2):
        done = host.converge(Inputs((server,), (WEB, MAPPED)))
        assert done == Converged(servers=1, proxies=2, refused=1)
    (told,) = [text for text in caplog.messages if text.startswith("not served")]
    assert f"proxy {lost} " in told
    assert f"is {family} and no server" in told
    assert len(backend.read().table.vips) == 2
    host.converge(Inputs((FOUR, SIX), (WEB, MAPPED)))
    assert IPv4Address("127.64.0.9") in {v.address for v in backend.read().table.vips}


def test_a_start_resumes_what_the_kernel_has(tmp_path: Path) -> None:
    """Its servers are the last known good list; an empty kernel knows nothing."""
    backend = MemoryMapBackend()
    assert converger(tmp_path, backend).resume() == Inputs()
    converger(tmp_path, backend).converge(Inputs((FOUR,), (WEB,)))
    resumed = converger(tmp_path, backend).resume()
    assert resumed.servers is not None
    assert [each.server.endpoint for each in resumed.servers] == ["10.0.0.1:8502"]
    assert resumed.proxies is None


def test_a_proxy_whose_namespace_is_not_to_be_told_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bound to nobody it would be everybody's; the others are served, bound or not."""
    backend = MemoryMapBackend()
    host = converger(tmp_path, backend)
    bound = Proxy("bound", "host1", netns="/run/netns/one")
    gone = Proxy("gone", "host1", owner="test", netns="/run/netns/two")
    places = {**UNBOUND, place_of(bound): Binding(netns=5), place_of(gone): "no, not"}
    inputs = Inputs((FOUR,), (WEB, bound, gone), bindings=places)
    assert inputs.complete
    assert host.converge(inputs) == Converged(servers=1, proxies=2, refused=1)
    table = backend.read().table
    assert list(table.bindings.values()) == [Binding(netns=5)]
    assert len(table.vips) == 2
    assert not (tmp_path / "gone").exists()
    assert "proxy gone (test): no, not" in caplog.text


def test_nothing_is_done_before_all_places_are_known() -> None:
    """A bound proxy must not be left out, nor be anybody's, for a moment."""
    bound = Proxy("bound", "host1", netns="/run/netns/one")
    assert not Inputs((FOUR,), (WEB, bound)).complete
    assert Inputs((FOUR,), (WEB,)).complete
