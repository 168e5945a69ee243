"""One round: what cannot be written or reached is told, and hurts nobody else."""

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf import (
    Binding,
    EnvoyBootstrap,
    PooledServer,
    Proxy,
    Server,
    ServerState,
)
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.inputs import NO_BOOTSTRAP, NO_ID, Inputs
from consul_ebpf.controller.outcomes import Converged, Served, Trouble
from consul_ebpf.controller.problems import ProblemFile, Problems
from consul_ebpf.controller.writing import STAYS
from consul_ebpf.kernel.pods import UNBOUND, place_of
from consul_ebpf.model.answers import Answers, Missing
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.model.values import BootstrapParams, PlacedProxy, ProxyFiles
from consul_ebpf.proxies.params import Params
from consul_ebpf.testing.maps import MemoryMapBackend
from tests.lab.rounds import Rounds

FOUR = PooledServer(Server.at("10.0.0.1", 8502), ServerState.READY)
SIX = PooledServer(Server.at("fd00::1", 8502), ServerState.READY)
WEB = Proxy("web", "host1", owner="test")
MAPPED = Proxy("six", "host1", owner="test", vip=IPv6Address("::ffff:127.64.0.9"))


def test_fault_64_a_file_that_cannot_be_written_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are written; the round says it is not complete; then it is."""
    (tmp_path / "web").write_text("in the way of a directory")
    backend = MemoryMapBackend()
    host = Rounds(tmp_path, backend)
    inputs = Inputs((FOUR,), (WEB, Proxy("api", "host1")))
    done = host.converge(inputs)
    assert str(done) == str(Converged(servers=1, proxies=2, refused=1, complete=False))
    assert (tmp_path / "api" / "bootstrap.json").is_file()
    assert len(backend.read().table.vips) == 2
    assert str(host.converge(inputs)) == str(done)
    assert [str(tmp_path / "web") in text for text in caplog.messages].count(True) == 1

    (tmp_path / "web").unlink()
    assert str(host.converge(inputs)) == str(Converged(servers=1, proxies=2, refused=0))
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


class Choosy:
    """A renderer that a value of central configuration makes fail."""

    def __init__(self) -> None:
        self._ours = EnvoyBootstrap()

    def render(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> Mapping[str, Any]:
        for key, value in (params.config if params else {}).items():
            if isinstance(value, Exception):
                raise value
            if value == "bad":
                raise InvalidProxyError(f"proxy {placed.proxy.id!r}: {key}: no JSON")
        return {**self._ours.render(placed), "value": params and dict(params.config)}

    def notes(
        self, placed: PlacedProxy, params: BootstrapParams | None = None
    ) -> tuple[str, ...]:
        config = params.config if params else {}
        left_out = [key for key, value in config.items() if value == "odd"]
        return tuple(
            f"proxy {placed.proxy.id!r}: {each}: left out" for each in left_out
        )


def told(value: object, *proxies: Proxy) -> Params:
    """Return that central configuration holds a value, for all of these."""
    return Params({each.id: BootstrapParams(config={"key": value}) for each in proxies})


def tokens(secret: str) -> Tokens:
    return Tokens({"": secret})


def served(done: Converged, proxy: Proxy) -> Served:
    outcome = done.outcomes[proxy.id]
    assert isinstance(outcome, Served)
    return outcome


API, NEW = Proxy("api", "host1"), Proxy("new", "host1")
RUNNING = (WEB, API)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("bad", "key: no JSON"),
        (KeyError("x"), "its bootstrap cannot be made: KeyError: 'x'"),
        (RecursionError(), "its bootstrap cannot be made: it is nested too deeply"),
    ],
)
def test_fault_79_a_bad_value_takes_nothing_from_who_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: object, reason: str
) -> None:
    """VIP, binding and bootstrap stay, tokens and CA are written; a new one waits."""
    backend = MemoryMapBackend()
    bindings = Answers({**UNBOUND, ("/n", ""): Binding(netns=5)})
    bound = replace(API, netns="/n")
    good = Inputs(
        (FOUR,),
        (WEB, bound),
        tokens=tokens("one"),
        params=told("fine", *RUNNING),
        tls=TlsMaterial(ca="ca one"),
        bindings=bindings,
    )
    host = Rounds(tmp_path, backend, Choosy())
    host.converge(good)
    table = backend.read().table
    before = {each: (tmp_path / each / "bootstrap.json").read_bytes() for each in IDS}

    bad = replace(
        good,
        proxies=(WEB, bound, NEW),
        tokens=tokens("two"),
        params=told(value, WEB, API, NEW),
        tls=TlsMaterial(ca="ca two"),
    )
    for each in (host, Rounds(tmp_path, backend, Choosy())):  # and a restart
        if each is not host:
            each.resume()
        done = each.converge(bad)
        assert (done.proxies, done.refused, done.complete) == (3, 1, True)
        now = backend.read().table
        assert table.vips.items() <= now.vips.items()
        assert table.bindings == now.bindings
        for name in IDS:
            directory = tmp_path / name
            assert before[name] == (directory / "bootstrap.json").read_bytes()
            assert "two" in (directory / "token.json").read_text()
            assert "ca two" in (directory / "tls-ca.json").read_text()
        assert not (tmp_path / "new" / "bootstrap.json").exists()
        assert served(done, WEB).trouble == Trouble(reason, STAYS)
        assert served(done, NEW).waiting == Trouble(reason, NO_BOOTSTRAP)
    assert [reason in line for line in caplog.messages].count(True) == 2  # a start each
    problems = ProblemFile(tmp_path).read()
    assert problems.proxies["web"] == [f"its last bootstrap stays: {reason}"]
    assert problems.proxies["new"] == [f"no bootstrap yet: {reason}"]

    done = host.converge(replace(bad, params=told("mended", WEB, API, NEW)))
    assert (done.refused, ProblemFile(tmp_path).read()) == (0, Problems())
    assert "mended" in (tmp_path / "new" / "bootstrap.json").read_text()


IDS = ("web", "api")


def test_fault_79_answers_that_come_one_by_one_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each proxy is asked about by itself: the reason is not said for each."""
    host = Rounds(tmp_path, MemoryMapBackend(), Choosy())
    proxies = tuple(Proxy(f"p{n}", "host1") for n in range(20))
    host.converge(Inputs((FOUR,), proxies))
    for count in range(1, 21):
        asked = told("bad", *proxies[:count])
        rest = told("fine", *proxies[count:])
        params = Params({**rest, **asked})
        host.converge(Inputs((FOUR,), proxies, params=params))
    assert [text for text in caplog.messages if "no JSON" in text] == [
        "proxy p0: its last bootstrap stays: key: no JSON"
    ]


def test_fault_79_what_is_left_out_is_told_once_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of all proxies; it is no refusal."""
    host = Rounds(tmp_path, MemoryMapBackend(), Choosy())
    inputs = Inputs((FOUR,), RUNNING, params=told("odd", *RUNNING))
    for _ in range(2):
        done = host.converge(inputs)
        assert (done.refused, served(done, WEB).notes) == (0, ("key: left out",))
    (line,) = [text for text in caplog.messages if "key: left out" in text]
    assert line == "left out of bootstraps (web, api): key: left out"
    assert ProblemFile(tmp_path).read().proxies["api"] == ["key: left out"]


def test_fault_80_one_unwritable_file_is_one_proxys(tmp_path: Path) -> None:
    """The outcome says which token is in whose file, and not which should be."""
    host = Rounds(tmp_path, MemoryMapBackend())
    host.converge(Inputs((FOUR,), RUNNING, tokens=tokens("one")))
    token = tmp_path / "web" / "token.json"
    token.rename(tmp_path / "web" / "kept")
    token.mkdir()
    done = host.converge(Inputs((FOUR,), RUNNING, tokens=tokens("two")))
    assert not done.complete
    assert (served(done, WEB).token, served(done, API).token) == ("", "two")
    assert served(done, WEB).bootstrap
    assert "token.json" in str(served(done, WEB).trouble)
    assert served(done, API).trouble is None
    token.rmdir()
    done = host.converge(Inputs((FOUR,), RUNNING, tokens=tokens("two")))
    assert (served(done, WEB).token, done.complete) == ("two", True)


def test_fault_80_a_token_that_another_process_wrote_is_not_known(
    tmp_path: Path,
) -> None:
    """Until it is written anew: it may be the one that is to be logged out."""
    backend = MemoryMapBackend()
    inputs = Inputs((FOUR,), (WEB,), tokens=tokens("one"))
    Rounds(tmp_path, backend).converge(inputs)
    waiting = replace(inputs, tokens=Tokens({"": Missing("not yet")}))
    host = Rounds(tmp_path, backend)
    done = host.converge(waiting)
    assert served(done, WEB).token is None
    assert served(done, WEB).waiting is None  # its Envoy goes on with what it has
    assert served(host.converge(inputs), WEB).token == "one"


def test_fault_80_a_prune_that_fails_is_nobodys_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again, said once, and the others' files are removed."""
    host = Rounds(tmp_path, MemoryMapBackend())
    host.converge(Inputs((FOUR,), (*RUNNING, NEW)))
    (tmp_path / "api" / "bootstrap.json").unlink()
    (tmp_path / "api" / "bootstrap.json").mkdir()
    for _ in range(2):
        done = host.converge(Inputs((FOUR,), (WEB,)))
        assert (done.refused, done.complete, set(done.outcomes)) == (0, False, {"web"})
    assert not (tmp_path / "new").exists()
    said = [text for text in caplog.messages if "cannot remove" in text]
    assert len(said) == 1


def test_fault_80_an_id_that_is_a_file_of_ours_is_refused(tmp_path: Path) -> None:
    """By name; nothing else notices."""
    host = Rounds(tmp_path, MemoryMapBackend())
    ids = ("api.sock", "problems.json", "vips.json", "x.bad")
    named = [Proxy(each, "host1") for each in ids]
    done = host.converge(Inputs((FOUR,), (WEB, *named)))
    assert (done.proxies, done.refused, done.complete) == (1, 4, True)
    assert "as our own files do" in str(done.outcomes["api.sock"])


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

    known = replace(late, id="web", node="host1")
    done = host.converge(Inputs((FOUR,), (known,)))
    assert str(done) == str(Converged(servers=1, proxies=1, refused=0))
    assert list(backend.read().table.vips) == [vip]
    bootstrap = tmp_path / "pod-1" / "bootstrap.json"
    node = json.loads(bootstrap.read_text())["node"]
    assert (node["id"], node["metadata"]["node_name"]) == ("web", "host1")

    written = bootstrap.read_text()
    done = Rounds(tmp_path, backend).converge(Inputs((FOUR,), (late,)))
    assert str(done) == str(Converged(servers=1, proxies=1, refused=0))
    assert bootstrap.read_text() == written, "its Envoy goes on with it"


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
