"""What a frame of `top` shows."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from consul_ebpf.cli.frames import FEWEST_HAPPENINGS, FEWEST_PROXIES, divided, frame
from consul_ebpf.cli.keys import View
from consul_ebpf.views.deaths import LostServer
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.picture import Picture, Pictures
from consul_ebpf.views.pods import NodeStatus, VolumeStatus
from consul_ebpf.views.timeline import StateSince, Timeline
from tests.lab.looks import FAILING, READY, server, snapshot, tables


@pytest.fixture
def picture() -> Picture:
    """Return one of a host with a dead server, and forty proxies."""
    timeline = Timeline(
        [Happening(float(n), "server_failing", server(0)) for n in range(30)],
        {server(0): StateSince("failing", 5.0)},
    )
    held = tables({0: FAILING, 1: READY}, dict.fromkeys(range(40), (2, 1)))
    pictures = Pictures()
    pictures.add(snapshot(90.0, held, timeline=timeline))
    return pictures.add(snapshot(100.0, held, timeline=timeline))


def drawn(
    picture: Picture, view: View | None = None, height: int = 0, width: int = 140
) -> list[str]:
    file = StringIO()
    console = Console(file=file, width=width, no_color=True)
    shown = frame(picture, view or View(), "host", height, width=width, bar="#")
    console.print(shown)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_dead_server_is_told_first(picture: Picture) -> None:
    """How the host is, what is wrong, what to do; then the tables."""
    lines = drawn(picture)
    assert "DEGRADED: 1 of 2 servers ready, 40 of 40 proxies connected" in lines[0]
    assert lines[1] == "  what runs goes on: look at it in the daytime"
    assert f"server {server(0)} does not answer" in lines[2]
    assert "(for 1 m 35 s)" in lines[2]
    assert lines[3].strip() == "no proxy is on it, they use the others"
    assert lines[4].startswith("        -> look at Consul on 10.0.0.0")
    (row,) = (line for line in lines if line.startswith("10.0.0.1:8502"))
    assert row.split() == [
        *("10.0.0.1:8502", "ready", "-", "#" * 20, "100%"),
        *("40", "0.0", "80", "0"),
    ]
    (proxy,) = (line for line in lines if line.startswith("web-3 "))
    assert proxy.split()[1:4] == ["127.64.0.4", "10.0.0.1:8502", "connected"]
    assert sum("is failing" in line for line in lines) == 30


def test_a_dead_server_that_consul_forgot_is_still_there(picture: Picture) -> None:
    """As one that died."""
    status = replace(picture.status, lost=[LostServer("10.0.0.9:8502", 40.0)])
    lines = drawn(replace(picture, status=status))
    (row,) = (line for line in lines if line.startswith("10.0.0.9:8502"))
    assert row.split()[1:3] == ["died", "1"]


@pytest.mark.parametrize("height", [14, 24, 34, 60])
def test_a_frame_fits_its_screen(picture: Picture, height: int) -> None:
    """The newest happenings and the keys are on it, from 24 lines on."""
    lines = drawn(picture, height=height)
    assert len(lines) <= max(height, 20)
    assert "rows 1 to" in "".join(lines) or height == 60
    assert lines[-1].startswith("q quit")
    assert sum("is failing" in line for line in lines) >= FEWEST_HAPPENINGS


def test_room_that_proxies_do_not_need_is_for_what_happened() -> None:
    """Both have some on the lowest screen."""
    assert divided(40, 10, 2).happenings == 40 - 10 - 5 - 2
    low = divided(5, 10, 9)
    assert (low.proxies, low.happenings) == (FEWEST_PROXIES, FEWEST_HAPPENINGS)


def test_scrolling_ends_with_the_last_row(picture: Picture) -> None:
    """However often the key is pressed."""
    text = "\n".join(drawn(picture, View(first=1000), height=30))
    assert "web-9 " in text
    assert "to 40" in text


def test_a_narrow_screen_has_fewer_columns_and_whole_names(picture: Picture) -> None:
    """What matters most stays: who is where, since when."""
    lines = drawn(picture, height=30, width=80)
    (head,) = (line for line in lines if line.startswith("proxy "))
    assert {"server", "state", "for"} <= set(head.split())
    assert not any("…" in line for line in lines if line.startswith(("web-", "10.")))
    assert "10.0.0.1:8502" in "".join(lines)


def test_pods_are_named_and_those_that_wait(picture: Picture) -> None:
    """On a node of Kubernetes; the names of many are counted."""
    volumes = [
        VolumeStatus(
            f"shop/web-{n}", f"u{n}", f"web-{n}", n > 7, ["no token"] * (n < 8)
        )
        for n in range(10)
    ]
    node = replace(picture.status, kubernetes=NodeStatus(volumes=volumes))
    lines = drawn(replace(picture, status=node))
    (row,) = (line for line in lines if " web-3 " in line)
    assert row.split()[:2] == ["shop/web-3", "web-3"]
    assert "Pods' volumes: 10, 8 wait" in lines
    assert "  shop/web-0: no token" in lines
    assert "  and 3 more: consul-ebpf status" in lines


def test_the_filter_is_shown(picture: Picture) -> None:
    """With how many have it; and while it is typed, how to go on."""
    lines = drawn(picture, View(text="web-1", typing=True, paused=True), height=30)
    assert any("; 11 with /web-1" in line for line in lines)
    assert lines[-1].startswith("filter: web-1_")
    assert lines[0].endswith("PAUSED")


def test_a_picture_that_is_old_says_why(picture: Picture) -> None:
    """The last one stays, for the tables may be there again soon."""
    file = StringIO()
    shown = frame(picture, View(), "host", 30, trouble="nothing is pinned")
    Console(file=file, width=140, no_color=True).print(shown)
    assert "not read anew: nothing is pinned" in file.getvalue().splitlines()[-1]


def test_names_cannot_send_codes_to_the_terminal(picture: Picture) -> None:
    """Nor be read as rich's markup."""
    status = picture.status
    bad = replace(status.proxies[0], id="\x1b[2Jx[red]y")
    shown = replace(picture, status=replace(status, proxies=[bad]))
    text = "\n".join(drawn(shown))
    assert "\x1b" not in text
    assert "\\x1b[2Jx[red]y" in text
