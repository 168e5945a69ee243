"""One round: what cannot be written or reached is told, and hurts nobody else."""

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf import (
    Binding,
    PooledServer,
    Proxy,
)
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.inputs import ENDED, NO_BOOTSTRAP, NO_ID, Inputs
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.controller.problems import ProblemFile
from consul_ebpf.kernel.pods import UNBOUND, Bindings, place_of
from consul_ebpf.model.answers import Answers, Missing
from consul_ebpf.model.values import ProxyFiles
from consul_ebpf.proxies.params import Params
from consul_ebpf.testing.maps import MemoryMapBackend
from tests.lab.round_inputs import (
    API,
    FOUR,
    MAPPED,
    NEW,
    SIX,
    WEB,
    tokens,
)
from tests.lab.rounds import Rounds


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
    host = Rounds(tmp_path, backend)
    for _ in range(2):
        done = host.converge(Inputs((server,), (WEB, MAPPED)))
        assert str(done) == str(Converged(servers=1, proxies=2, refused=1))
    (told,) = [text for text in caplog.messages if text.startswith("not served")]
    assert f"proxy {lost} " in told
    assert f"is {family} and no server" in told
    assert len(backend.read().table.vips) == 2
    host.converge(Inputs((FOUR, SIX), (WEB, MAPPED)))
    assert IPv4Address("127.64.0.9") in {v.address for v in backend.read().table.vips}


def test_a_start_resumes_what_the_kernel_has(tmp_path: Path) -> None:
    """Its servers are the last known good list; an empty kernel knows nothing."""
    backend = MemoryMapBackend()
    assert Rounds(tmp_path, backend).resume() == ()
    Rounds(tmp_path, backend).converge(Inputs((FOUR,), (WEB,)))
    resumed = Rounds(tmp_path, backend).resume()
    assert [each.server.endpoint for each in resumed] == ["10.0.0.1:8502"]


def test_a_proxy_whose_namespace_is_not_to_be_told_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bound to nobody it would be everybody's; the others are served, bound or not."""
    backend = MemoryMapBackend()
    host = Rounds(tmp_path, backend)
    bound = Proxy("bound", "host1", netns="/run/netns/one")
    gone = Proxy("gone", "host1", owner="test", netns="/run/netns/two")
    places = Answers(
        {
            **UNBOUND,
            place_of(bound): Binding(netns=5),
            place_of(gone): Missing("no"),
        }
    )
    inputs = Inputs((FOUR,), (WEB, bound, gone), bindings=places)
    assert inputs.complete
    assert str(host.converge(inputs)) == str(Converged(servers=1, proxies=2, refused=1))
    table = backend.read().table
    assert list(table.bindings.values()) == [Binding(netns=5)]
    assert len(table.vips) == 2
    assert not (tmp_path / "gone").exists()
    assert "proxy gone (test): no" in caplog.text


@pytest.mark.parametrize("gone", [False, True])
def test_fault_29_a_namespace_that_cannot_be_told_after_a_restart(
    tmp_path: Path, *, gone: bool
) -> None:
    """The VIP stays bound to where the kernel has it; one that is gone is withdrawn."""
    backend = MemoryMapBackend()
    bound = Proxy("bound", "host1", netns="/run/netns/one")
    known = Answers({**UNBOUND, place_of(bound): Binding(netns=5)})
    Rounds(tmp_path, backend).converge(Inputs((FOUR,), (bound,), bindings=known))
    before = backend.read().table

    host = Rounds(tmp_path, backend)
    host.resume()
    unknown = Answers(
        {**UNBOUND, place_of(bound): Missing("the helper is dead", gone=gone)}
    )
    done = host.converge(Inputs((FOUR,), (bound,), bindings=unknown))
    assert (done.proxies, done.refused) == ((0, 1) if gone else (1, 0))
    assert backend.read().table.vips == ({} if gone else before.vips)
    assert (tmp_path / "bound" / "bootstrap.json").exists() is not gone
    assert "the helper is dead" in str(done.outcomes["bound"])
    # Bound by another kind of place it would be somebody else's.
    other = replace(bound, cgroup="/sys/fs/cgroup/x")
    places = Answers({**UNBOUND, place_of(other): Missing("the helper is dead")})
    assert host.converge(Inputs((FOUR,), (other,), bindings=places)).refused == 1


def test_nothing_is_done_before_all_places_are_known() -> None:
    """A bound proxy must not be left out, nor be anybody's, for a moment."""
    bound = Proxy("bound", "host1", netns="/run/netns/one")
    assert not Inputs((FOUR,), (WEB, bound)).complete
    assert Inputs((FOUR,), (WEB,)).complete


def test_fault_81_nothing_of_whom_a_source_cannot_name_is_removed(
    tmp_path: Path,
) -> None:
    """After a restart: VIP, binding, files stay, and nobody else gets the VIP."""
    backend = MemoryMapBackend()
    bound = replace(API, netns="/n")
    bindings = Answers({**UNBOUND, ("/n", ""): Binding(netns=5)})
    Rounds(tmp_path, backend).converge(Inputs((FOUR,), (WEB, bound), bindings=bindings))
    before = backend.read().table
    (vip,) = before.bindings
    thief = Proxy("thief", "host1", vip=vip.address)

    host = Rounds(tmp_path, backend)
    host.resume()
    lacking = Inputs((FOUR,), (WEB, thief, NEW), lacking=("a.toml cannot be read",))
    done = host.converge(lacking)
    assert (done.proxies, done.refused, done.kept) == (2, 1, (vip,))
    now = backend.read().table
    assert before.vips.items() <= now.vips.items()
    assert now.bindings == before.bindings
    assert (tmp_path / "api" / "bootstrap.json").exists()

    done = host.converge(replace(lacking, lacking=()))  # it is gone after all
    assert (done.proxies, done.refused, done.kept) == (3, 0, ())
    assert not (tmp_path / "api").exists()
    assert not backend.read().table.bindings


def test_fault_140_a_proxy_is_served_as_soon_as_its_id_comes(tmp_path: Path) -> None:
    """It has its VIP before; then it has the same one, and its bootstrap."""
    backend = MemoryMapBackend()
    host = Rounds(tmp_path, backend)
    late = Proxy(id="", node="", key="pod-1")
    done = host.converge(Inputs((FOUR,), (late,)))
    assert str(done) == str(Converged(servers=1, proxies=1, refused=1))
    assert done.refusals == {"pod-1": f"{NO_BOOTSTRAP}: {NO_ID}"}
    assert ProblemFile(tmp_path).read().proxies == {
        "pod-1": [f"{NO_BOOTSTRAP}: {NO_ID}"]
    }
    (vip,) = backend.read().table.vips

    known = replace(late, id="web-" * 100, node="host1")  # as pods' ids may be
    done = host.converge(Inputs((FOUR,), (known,)))
    assert str(done) == str(Converged(servers=1, proxies=1, refused=0))
    assert list(backend.read().table.vips) == [vip]
    bootstrap = tmp_path / "pod-1" / "bootstrap.json"
    node = json.loads(bootstrap.read_text())["node"]
    assert (node["id"], node["metadata"]["node_name"]) == (known.id, "host1")

    written = bootstrap.read_text()
    done = Rounds(tmp_path, backend).converge(Inputs((FOUR,), (late,)))
    assert str(done) == str(Converged(servers=1, proxies=1, refused=0))
    assert bootstrap.read_text() == written, "its Envoy goes on with it"


def test_the_bootstrap_comes_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An Envoy may start as soon as it is there: what it names is there before."""
    caplog.set_level("INFO")
    tls = TlsMaterial(ca="CA", cert="CERT", key="KEY")
    inputs = Inputs((FOUR,), (WEB,), tokens=tokens("one"), tls=tls)
    assert Rounds(tmp_path, MemoryMapBackend()).converge(inputs).complete
    wrote = [text for text in caplog.messages if text.startswith("wrote ")]
    assert [text.rpartition("/")[2] for text in wrote] == [
        "tls-ca.json",
        "tls-cert.json",
        "token.json",
        "bootstrap.json",
    ]


def test_a_source_says_what_an_id_waits_for(tmp_path: Path) -> None:
    """Nor does patience with Consul's central configuration make a bootstrap then."""
    overdue: Params = Answers({"pod-1": Missing("NOT_FOUND", overdue=True)})
    why = "Consul has no registration of pod default/web yet"
    late = Proxy(id="", node="", key="pod-1", awaits=why)
    host = Rounds(tmp_path, MemoryMapBackend())
    done = host.converge(Inputs((FOUR,), (late,), params=overdue))
    assert done.refusals == {"pod-1": f"{NO_BOOTSTRAP}: {why}"}
    known = replace(late, id="web", awaits="")
    done = host.converge(Inputs((FOUR,), (known,), params=overdue))
    assert not done.refusals


def test_a_proxy_that_has_ended_keeps_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets no bootstrap, however long Consul was waited for, and no error line."""
    overdue: Params = Answers({"web": Missing("NOT_FOUND", overdue=True)})
    ended = replace(WEB, ended=True)
    host = Rounds(tmp_path, MemoryMapBackend())
    done = host.converge(Inputs((FOUR,), (ended,), params=overdue))
    assert done.refusals == {"web": f"{NO_BOOTSTRAP}: {ENDED}"}
    host.converge(Inputs((FOUR,), (WEB,)))
    bootstrap = tmp_path / "web" / "bootstrap.json"
    before = bootstrap.stat().st_mtime_ns
    done = host.converge(Inputs((FOUR,), (ended,), params=Answers()))
    assert (done.proxies, done.refusals) == (1, {})
    assert bootstrap.stat().st_mtime_ns == before
    assert not [each for each in caplog.records if each.levelname != "INFO"]


def test_fault_k_a_pod_whose_cgroup_is_gone_keeps_vip_and_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until its volume goes; not a line in the log, and nobody else's are touched."""
    (tmp_path / "volume").mkdir()
    files = ProxyFiles(str(tmp_path / "volume"), exists_already=True)
    pod = replace(API, cgroup="/sys/fs/cgroup/pod", files=files)
    bound: Bindings = Answers({**UNBOUND, place_of(pod): Binding(cgroup=7, level=3)})
    host = Rounds(tmp_path / "run", MemoryMapBackend())
    before = host.converge(Inputs((FOUR,), (WEB, pod), bindings=bound))
    gone: Bindings = Answers({**UNBOUND, place_of(pod): Missing("gone", quiet=True)})
    done = host.converge(Inputs((FOUR,), (WEB, pod), bindings=gone))
    assert (done.proxies, done.refusals) == (2, {})
    assert done.placed == before.placed
    assert (tmp_path / "volume" / "bootstrap.json").exists()
    never = Rounds(tmp_path / "fresh", MemoryMapBackend())
    done = never.converge(Inputs((FOUR,), (WEB, pod), bindings=gone))
    assert (done.proxies, done.refusals) == (1, {"api": "gone"})
    assert not [each for each in caplog.records if each.levelname != "INFO"]


def test_troubles_name_the_id_where_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And the key where there is none yet."""
    bad = replace(WEB, key="pod-1", conflict="it cannot be")
    Rounds(tmp_path, MemoryMapBackend()).converge(Inputs((FOUR,), (bad,)))
    assert "proxy web (test): no bootstrap yet: it cannot be" in caplog.text
    assert list(ProblemFile(tmp_path).read().proxies) == ["web"]
    full = MemoryMapBackend(capacity=0)
    Rounds(tmp_path, full).converge(Inputs((FOUR,), (replace(bad, id=""),)))
    assert "proxy pod-1 (test): the VIP table is full" in caplog.text


def test_fault_140_files_that_go_elsewhere_leave_nothing_behind(tmp_path: Path) -> None:
    """Once the new ones are there; those of a proxy that is gone go, too."""
    top = tmp_path / "run"
    host = Rounds(top, MemoryMapBackend())
    places: list[ProxyFiles | None] = [
        None,
        ProxyFiles(str(tmp_path / "one")),
        ProxyFiles(str(tmp_path / "missing" / "two")),
        ProxyFiles(str(tmp_path / "three")),
        None,
    ]
    found = []
    for files in places:
        proxy = replace(WEB, key="pod-1", files=files)
        done = host.converge(Inputs((FOUR,), (proxy, Proxy("api", "host1"))))
        there = {path.parent.name for path in tmp_path.rglob("bootstrap.json")}
        found.append((*(there - {"api"}), done.complete))
    assert found == [
        ("pod-1", True),
        ("one", True),
        ("one", False),
        ("three", True),
        ("pod-1", True),
    ]
    host.converge(Inputs((FOUR,), (replace(WEB, key="pod-1", files=places[3]),)))
    lacking = Inputs((FOUR,), (), lacking=("somebody",))
    Rounds(top, MemoryMapBackend()).converge(lacking)
    assert (tmp_path / "three" / "bootstrap.json").exists()
    Rounds(top, MemoryMapBackend()).converge(Inputs((FOUR,), ()))
    assert not list(tmp_path.rglob("bootstrap.json"))
