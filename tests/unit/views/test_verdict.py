"""What is made of a host."""

from dataclasses import replace

import pytest

from consul_ebpf.controller.problems import About, Problems
from consul_ebpf.views.ailments import Ailment, Level
from consul_ebpf.views.deaths import LOST_SECONDS, lost_servers
from consul_ebpf.views.dns import DnsServerStatus, DnsStatus
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.snapshot import Remembered, Snapshot
from consul_ebpf.views.status import Status, status_of
from consul_ebpf.views.timeline import StateSince, Timeline
from consul_ebpf.views.verdict import judge, judged
from tests.lab.looks import FAILING, READY, server, snapshot, tables

WELL = snapshot(9.0, tables({0: READY, 1: READY}, {0: (1, 0), 1: (1, 1)}))


def told(host: Snapshot | Status) -> list[str]:
    """Return what is wrong, the worst first."""
    status = status_of(host) if isinstance(host, Snapshot) else host
    return [each.what for each in judge(status).ailments]


def test_a_host_that_is_well() -> None:
    """Nothing is wrong, and one line says how it is."""
    verdict = judged(status_of(WELL)).verdict
    assert (Level.OK, []) == (verdict.level, verdict.ailments)
    expected = "2 of 2 servers ready, 2 of 2 proxies connected, controller pid 7"
    assert expected == verdict.summary


def test_a_dead_server_is_named_with_what_to_do() -> None:
    """Its proxies are elsewhere: degraded, since when it is known."""
    timeline = Timeline(states={server(0): StateSince("failing", 5.0)})
    held = tables({0: FAILING, 1: READY}, {0: (2, 1)})
    verdict = judge(status_of(snapshot(9.0, held, timeline=timeline)))
    assert verdict.level is Level.DEGRADED
    (ailment,) = verdict.ailments
    assert ailment.what == f"server {server(0)} does not answer"
    assert ailment.means == "no proxy is on it, they use the others"
    assert "look at Consul on 10.0.0.0" in ailment.do
    assert ailment.since == 5.0


def test_connections_still_open_to_a_dead_server_are_counted() -> None:
    """They are not on the others yet."""
    held = tables({0: FAILING, 1: READY}, {0: (1, 0)})
    assert "still open: 1" in judge(status_of(snapshot(9.0, held))).ailments[0].means


def test_a_dead_server_that_consul_forgot_is_named_for_an_hour() -> None:
    """Not one that was taken off while it was well, nor one that is back."""
    lost = [
        Happening(10.0, "server_failing", "10.0.0.8:8502"),
        Happening(20.0, "server_gone", "10.0.0.8:8502"),
        Happening(20.0, "server_gone", "10.0.0.9:8502"),
    ]

    def judged_at(at: float, timeline: list[Happening]) -> list[Ailment]:
        status = replace(status_of(WELL), lost=lost_servers(timeline, at))
        return judge(status).ailments

    (ailment,) = judged_at(30.0, lost)
    assert ailment.what == "server 10.0.0.8:8502 died, and Consul lists it no more"
    assert ailment.since == 10.0
    assert judged_at(10.0 + LOST_SECONDS, lost) == []
    back = [*lost, Happening(25.0, "server_ready", "10.0.0.8:8502")]
    assert judged_at(30.0, back) == []
    counted = replace(status_of(WELL), lost=lost_servers(lost, 30.0))
    assert judge(counted).summary.startswith("2 of 3 servers ready")


def test_who_has_found_no_other_server_is_not_among_those_that_went() -> None:
    """They are named as not connected."""
    moves = Happening(6.0, "moved", server(0), server(1), ["web-0", "web-1"], 2)
    held = tables({0: FAILING, 1: READY}, {0: (2, 1), 1: (2, 1)})
    host = snapshot(9.0, held, timeline=Timeline([moves]), closed=frozenset({1}))
    dead, down = judge(status_of(host)).ailments
    assert dead.means == "proxy web-0 went from it to others"
    assert down.what == "proxy web-1: not connected to any server"


def test_no_server_is_worse_than_a_dead_one() -> None:
    """Then Envoys are refused."""
    held = tables({0: FAILING}, {0: (1, 0)})
    verdict = judge(status_of(snapshot(9.0, held)))
    assert verdict.level is Level.FAILING
    assert "no Consul server is ready" in verdict.ailments[0].what
    assert "no Consul server is known" in told(snapshot(9.0, tables({}, {})))[0]


def test_servers_that_are_all_silent_are_told_first() -> None:
    """Though their states are kept. Nobody is sent to look at the Envoys."""
    held = tables({0: READY, 1: READY, 2: FAILING}, {0: (1, 0)})
    silent = Remembered(problems=Problems(silent={"grpc": 5.0}))
    host = replace(snapshot(9.0, held, closed=frozenset({0})), remembered=silent)
    verdict = judge(status_of(host))
    first, down, failing = verdict.ailments
    assert (Level.FAILING, 5.0) == (first.level, first.since)
    assert first.what == "no Consul server answers this host; 2 did before"
    assert "consul-ebpf doctor" in first.do
    assert down.do == "it connects by itself once a server answers"
    assert "" == failing.means
    assert verdict.summary.startswith("0 of 3 servers answer")
    assert not status_of(replace(host, pid=None)).silent  # nobody probes them


def test_programs_that_are_not_attached() -> None:
    """Who puts them back depends on whether a controller runs."""
    alone = judge(status_of(detached(pid=None)))
    assert alone.level is Level.FAILING
    assert "start the controller" in alone.ailments[0].do
    (ailment,) = judge(status_of(detached(pid=7))).ailments
    assert "attaches them again" in ailment.do


def detached(pid: int | None) -> Snapshot:
    held = tables({0: READY}, {0: (1, 0)})
    return snapshot(9.0, held, pid=pid, attached=False)


def test_a_dead_controller_is_degraded() -> None:
    """The kernel goes on; what is new waits."""
    ended = Timeline([Happening(6.0, "controller_ended")])
    host = replace(WELL, pid=None, remembered=Remembered(timeline=ended))
    (ailment,) = judge(status_of(host)).ailments
    assert (Level.DEGRADED, 6.0) == (ailment.level, ailment.since)
    assert ailment.means.startswith("the kernel goes on")


def test_a_server_that_all_left_may_be_dead_while_nobody_probes_it() -> None:
    """The table says ready, since no controller is there to write anything else."""
    held = tables({0: READY, 1: READY}, {0: (2, 1)})
    timeline = Timeline([Happening(6.0, "moved", server(0), server(1), ["web-0"], 1)])
    host = snapshot(9.0, held, timeline=timeline)
    assert [] == told(host)
    (dead, _) = judge(status_of(replace(host, pid=None))).ailments
    assert dead.what.startswith(f"server {server(0)} may be dead")
    assert dead.means == "proxy web-0 went from it to others"
    assert 6.0 == dead.since


def test_proxies_that_lost_their_connection_are_named() -> None:
    """Not those that never had one: their Envoys were not started."""
    held = tables({0: READY}, {0: (1, 0), 1: (1, 0), 2: (0, None)})
    host = snapshot(9.0, held, closed=frozenset({1}))
    assert told(host) == ["proxy web-1: not connected to any server"]
    everyone = snapshot(9.0, tables({0: READY}, {0: (1, 0)}), closed=frozenset({0}))
    assert judge(status_of(everyone)).level is Level.FAILING


def test_a_problem_that_many_proxies_have_is_one_line() -> None:
    """It is worse if a proxy has no VIP for it."""
    problems = {f"web-{n}": ["no token"] for n in range(7)}
    status = replace(status_of(WELL), problems=problems, missing=["Consul"])
    worst, missing = judge(status).ailments
    assert worst.what == "7 proxies (web-0, web-1, web-2, web-3, web-4, …): no token"
    assert (Level.FAILING, Level.DEGRADED) == (worst.level, missing.level)
    served = replace(status, problems={"web-0": ["no token"]})
    assert told(served) == ["Consul", "proxy web-0: no token"]


def test_a_problem_that_keeps_a_proxy_off_is_told_once_with_what_to_do() -> None:
    """It is urgent then; while the Envoy has its stream it is not."""
    held = tables({0: READY}, {0: (1, 0), 1: (9, 0)})
    line = "the ACL token in /x is not known to Consul"
    about = {line: About(5.0, "it gets no changes", "put a valid token there")}

    def status(closed: frozenset[int]) -> Status:
        shown = status_of(snapshot(9.0, held, closed=closed))
        return replace(shown, problems={"web-1": [line]}, about=about)

    (worst,) = judge(status(frozenset({1}))).ailments
    assert worst == Ailment(
        Level.FAILING,
        f"proxy web-1: {line}",
        "put a valid token there",
        5.0,
        "it gets no changes",
    )
    (mild,) = judge(status(frozenset())).ailments
    assert mild.level is Level.DEGRADED


def test_a_table_that_is_nearly_full() -> None:
    """Before the next proxy is refused."""
    held = tables({0: READY}, dict.fromkeys(range(90), (1, 0)))
    assert told(snapshot(9.0, held)) == ["90 of 100 VIPs are given"]


@pytest.mark.parametrize(
    ("states", "attached", "level", "words"),
    [
        (["ready", "failing"], True, Level.DEGRADED, "queries go to the others"),
        (["failing"], True, Level.FAILING, "no server answers"),
        (["ready"], False, Level.FAILING, "not attached"),
    ],
)
def test_dns(states: list[str], attached: bool, level: Level, words: str) -> None:
    """Its servers have states of their own."""
    servers = [
        DnsServerStatus("10.0.0.1", 8600, slot, state, 0, 0)
        for slot, state in enumerate(states)
    ]
    dns = DnsStatus("127.64.0.53:53", attached, 0, 0, servers)
    verdict = judge(replace(status_of(WELL), dns=dns))
    assert verdict.level is level
    assert words in verdict.ailments[0].what


def test_dns_at_no_server_though_states_are_kept() -> None:
    """Queries fail then, while proxies may be well."""
    dns = DnsStatus(
        *("127.64.0.53:53", True, 0, 0),
        [DnsServerStatus("10.0.0.1", 8600, 0, "ready", 0, 0)],
    )
    silent = replace(status_of(WELL), dns=dns, silent={"dns": 5.0})
    (ailment,) = judge(silent).ailments
    assert (Level.FAILING, 5.0) == (ailment.level, ailment.since)
    assert "DNS: no server answers" in ailment.what
    assert ["silent"] == [each.state for each in silent.shown_dns_servers]
    assert {"ready"} == {each.state for each in silent.shown_servers}
