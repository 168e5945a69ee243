"""Pictures of one snapshot after the other."""

from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.picture import Pictures
from consul_ebpf.views.rates import OLDEST_SECONDS, RATE_SECONDS
from consul_ebpf.views.timeline import StateSince, Stay, Timeline
from consul_ebpf.views.wording import words_of
from tests.lab.looks import FAILING, READY, server, snapshot, tables

BOTH = {0: READY, 1: READY}


def test_without_a_controller_it_tells_what_it_sees() -> None:
    """After what the controller wrote down before it ended."""
    written = Timeline(
        [Happening(1.0, "controller_started")],
        {server(n): StateSince("ready", 1.0) for n in BOTH},
        {"web-0": Stay(1.0, 4)},
    )
    alive = snapshot(10.0, tables(BOTH, {0: (1, 0)}), timeline=written)
    dead = tables({0: FAILING, 1: READY}, {0: (2, 1)})
    pictures = Pictures()
    assert pictures.add(alive).status.timeline == written.happenings
    told = pictures.add(snapshot(12.0, dead, pid=None, timeline=written)).status
    assert [words_of(each) for each in told.timeline[1:]] == [
        f"server {server(0)} is failing",
        "the controller ended; the kernel goes on without it",
        f"proxy web-0 moved from {server(0)} to {server(1)}",
    ]
    assert [12.0, 1.0] == [each.since for each in told.servers]
    assert (12.0, 5) == (told.proxies[0].since, told.proxies[0].moves)


def test_while_the_controller_runs_its_own_timeline_is_shown() -> None:
    """Nothing is told twice. A controller that writes none is stood in for."""
    first, second = (tables(BOTH, {0: (n, n - 1)}) for n in (1, 2))
    pictures = Pictures()
    pictures.add(snapshot(1.0, first, timeline=Timeline()))
    picture = pictures.add(snapshot(2.0, second, timeline=Timeline()))
    assert picture.status.timeline == []
    pictures = Pictures()
    pictures.add(snapshot(1.0, first))
    assert pictures.add(snapshot(2.0, second)).status.timeline[-1].kind == "moved"


def test_rates_are_of_the_last_seconds() -> None:
    """Not known from one snapshot; a row that was filled anew is not negative."""
    pictures = Pictures()
    assert pictures.add(snapshot(0.0, tables(BOTH, {0: (1, 0)}))).rates == {}
    for at, often in ((1.0, 3), (RATE_SECONDS + 1.0, 8), (2 * RATE_SECONDS, 8)):
        rates = pictures.add(snapshot(at, tables(BOTH, {0: (often, 0)}))).rates
    assert rates[server(0)] == 5 / (2 * RATE_SECONDS - 1.0)
    rates = pictures.add(snapshot(30.0, tables(BOTH, {0: (1, 0)}))).rates
    assert rates[server(0)] == 0
    late = snapshot(31.0 + OLDEST_SECONDS, tables(BOTH, {0: (9, 0)}))
    assert pictures.add(late).rates == {}  # nobody has looked for a minute


def test_shares_are_of_the_open_connections() -> None:
    """With none there are no shares."""
    held = tables(BOTH, {0: (1, 0), 1: (1, 0), 2: (1, 1), 3: (1, 1)})
    picture = Pictures().add(snapshot(1.0, held, closed=frozenset({3})))
    active = [each.active for each in picture.status.servers]
    assert [2 / 3, 1 / 3] == [picture.share(each) for each in active]
    assert picture.connected == 3
    assert Pictures().add(snapshot(1.0, tables(BOTH, {}))).share(0) == 0
