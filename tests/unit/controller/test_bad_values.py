"""What Consul says of a proxy where no bootstrap can be made of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf import (
    Binding,
    EnvoyBootstrap,
    Proxy,
)
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.inputs import NO_BOOTSTRAP, Inputs
from consul_ebpf.controller.outcomes import Trouble
from consul_ebpf.controller.problems import ProblemFile, Problems
from consul_ebpf.controller.writing import STAYS
from consul_ebpf.kernel.pods import UNBOUND
from consul_ebpf.model.answers import Answers
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.values import BootstrapParams, PlacedProxy
from consul_ebpf.proxies.params import Params
from consul_ebpf.testing.maps import MemoryMapBackend
from tests.lab.round_inputs import (
    API,
    FOUR,
    NEW,
    RUNNING,
    WEB,
    served,
    tokens,
    told,
)
from tests.lab.rounds import Rounds


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
