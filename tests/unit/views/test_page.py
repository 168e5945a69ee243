"""The page, as a person without JavaScript reads it, and as a browser is told to."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from consul_ebpf.views.ailments import Ailment, Level, Verdict
from consul_ebpf.views.deaths import Left, LostServer
from consul_ebpf.views.happenings import Happening
from consul_ebpf.views.page import (
    MOST_HAPPENINGS,
    MOST_PROXIES,
    main_of,
    page_of,
    policy,
    template,
)
from consul_ebpf.views.pods import NodeStatus, VolumeStatus
from consul_ebpf.views.status import Status, status_of
from consul_ebpf.views.timeline import StateSince, Timeline
from consul_ebpf.views.verdict import judged
from tests.lab.looks import FAILING, READY, server, snapshot, tables


@pytest.fixture
def status() -> Status:
    """Return one of a host whose first server died: web-0 moved, web-2 has nothing."""
    timeline = Timeline(
        [
            Happening(5.0, "server_failing", server(0)),
            Happening(6.0, "moved", server(0), server(1), ["web-0"], 1),
        ],
        {server(0): StateSince("failing", 5.0)},
    )
    held = tables({0: FAILING, 1: READY}, {0: (2, 1), 1: (1, 1), 2: (1, 0)})
    host = snapshot(9.0, held, timeline=timeline, closed=frozenset({2}))
    return judged(status_of(host))


def parsed(status: Status, host: str = "host1") -> ET.Element:
    return ET.fromstring(main_of(status, host))


def texts(element: ET.Element, path: str) -> list[str]:
    return ["".join(each.itertext()) for each in element.findall(path)]


def test_it_says_first_what_is_wrong_and_what_to_do(status: Status) -> None:
    """Then the servers as columns, with the proxies on each."""
    main = parsed(status)
    assert texts(main, ".//p/span[@class='badge degraded']") == ["degraded"]
    ailments = texts(main, ".//ul[@class='ailments']/li")
    assert any(f"server {server(0)} does not answer" in each for each in ailments)
    lost, dead, alive = main.findall(".//section")
    assert dead.get("class") == "server failing"
    assert texts(dead, "p")[-1] == "no proxy is here"
    assert texts(alive, "ul/li") == ["web-0", "web-1"]
    assert ("server lost", ["web-2"]) == (lost.get("class"), texts(lost, "ul/li"))


def test_a_dead_server_that_consul_forgot_keeps_a_column(status: Status) -> None:
    """With who left it."""
    lost = [LostServer("10.0.0.9:8502", 3.0, Left(["web-0"], 1))]
    *_, died = parsed(replace(status, lost=lost)).findall(".//section")
    assert ["10.0.0.9:8502"] == texts(died, "h3")
    assert texts(died, "p")[0].startswith("died since ")
    assert ["proxy web-0 went to others"] == texts(died, "div")


def test_servers_of_which_none_answers_are_silent(status: Status) -> None:
    """Not ready, though the kernel's table says so still; what failed has failed."""
    shown = main_of(replace(status, silent={"grpc": 7.0}), "host1")
    columns = re.findall(r'<section class="server (\w+)', shown)
    assert ["lost", "failing", "silent"] == columns
    assert "<td>silent</td>" in shown
    assert "<td>ready</td>" not in shown


def test_the_newest_happening_is_first(status: Status) -> None:
    """With its time, as a machine reads it, too."""
    first, second = parsed(status).findall(".//ol[@class='timeline']/li")
    assert f"proxy web-0 moved from {server(0)} to {server(1)}" in texts(first, "span")
    moment = second.find("time")
    assert moment is not None
    assert (moment.get("datetime") or "").startswith("19")
    assert texts(second, "span") == [f"server {server(0)} is failing"]


def test_all_of_it_is_in_tables(status: Status) -> None:
    """For whom there is no picture."""
    servers, proxies = parsed(status).findall(".//table")
    rows = [[*row.itertext()] for row in proxies.findall("tbody/tr")]
    assert ["web-2", "127.64.0.3", server(0), "no"] == rows[0][:4]
    assert 2 == len(servers.findall("tbody/tr"))


def test_connects_of_a_second_are_shown_once_they_are_known(status: Status) -> None:
    """In the column and in the table."""
    main = ET.fromstring(main_of(status, "host1", {server(1): 2.5}))
    _, dead, alive = main.findall(".//section")
    assert ["0 proxies, - connects/s"] == texts(dead, "div")
    assert ["2 proxies, 2.5 connects/s"] == texts(alive, "div")
    rows = main.findall(".//details[@id='table-servers']//tbody/tr")
    assert ["-", "2.5"] == [texts(row, "td")[4] for row in rows]


def test_pods_that_wait_have_a_column_and_are_first_in_their_table(
    status: Status,
) -> None:
    """With what they wait for; where no pod waits there is no such column."""
    well = VolumeStatus("shop/web-1", "u1", "web-1", True, [])
    waits = VolumeStatus("shop/web-2", "u2", "web-2", True, ["no token"])
    main = parsed(replace(status, kubernetes=NodeStatus(volumes=[well, waits])))
    column = main.findall(".//section")[-1]
    assert ["Pods that wait"] == texts(column, "h3")
    assert ["shop/web-2"] == texts(column, "ul/li")
    rows = main.findall(".//details[@id='table-volumes']//tbody/tr")
    assert [["shop/web-2", "web-2", "yes", "no token"], "shop/web-1"] == [
        texts(rows[0], "td"),
        texts(rows[1], "td")[0],
    ]
    calm = parsed(replace(status, kubernetes=NodeStatus(volumes=[well])))
    assert "Pods that wait" not in texts(calm, ".//section/h3")


EVIL = "<script>alert(1)</script>\"'&\u202e\x1b[2J"


def test_texts_from_elsewhere_are_texts(status: Status) -> None:
    """A proxy's name, an error, a host's name: no markup, no codes, no other order."""
    proxy = replace(status.proxies[0], id=EVIL, vip=EVIL, server=EVIL)
    bad = replace(
        status,
        proxies=[proxy, replace(proxy, active=False)],
        servers=[replace(status.servers[0], address=EVIL, state=EVIL)],
        problems={EVIL: [EVIL]},
        kubernetes=NodeStatus(volumes=[VolumeStatus(EVIL, EVIL, EVIL, False, [EVIL])]),
        lost=[LostServer(EVIL, 1.0, Left([EVIL], 1))],
        timeline=[
            Happening(1.0, EVIL, EVIL, EVIL, [EVIL], 1),
            Happening(1.0, "moved", EVIL, EVIL, [EVIL], 1),
        ],
        verdict=Verdict(Level.FAILING, EVIL, [Ailment(Level.FAILING, EVIL, EVIL)]),
    )
    text = page_of(main_of(bad, EVIL))
    assert text.count("<script>") == 1
    assert not {"\u202e", "\x1b"} & set(text)
    main = parsed(bad, EVIL)
    known = {"class", "data-key", "datetime", "scope", "open", "id"}
    known |= {"min", "max", "value"}
    assert known >= {name for each in main.iter() for name in each.attrib}
    assert main.find(".//script") is None


def test_a_browser_may_load_nothing_and_run_nothing_else() -> None:
    """Style and script of the page itself, by their hashes; no asset of another."""
    rules = dict(each.split(" ", 1) for each in policy().split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy()
    assert rules["style-src"].startswith("'sha256-")
    assert not re.search(r"(src|href)=|url\(|@import|style=|https?:", template())
    assert "innerHTML" not in template()


def test_it_works_without_its_script(status: Status) -> None:
    """It is whole as it comes, and comes again by itself."""
    text = page_of(main_of(status, "host1"))
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in text
    assert "web-2" in text.partition("<script>")[0]
    assert "prefers-color-scheme: dark" in text


def test_its_size_has_a_limit(status: Status) -> None:
    """The rest is counted; what is wrong is shown before what is right."""
    proxies = [replace(status.proxies[1], id=f"p{n}") for n in range(MOST_PROXIES)]
    lost = replace(status.proxies[2], id="zzz")
    many = [Happening(float(n), "attached") for n in range(MOST_HAPPENINGS + 5)]
    main = parsed(replace(status, proxies=[*proxies, lost], timeline=many))
    assert MOST_PROXIES == len(main.findall(".//section/ul/li"))
    assert "1 more proxies are not shown." in texts(main, "p")
    assert texts(main, ".//section[@class='server lost']/ul/li") == ["zzz"]
    assert MOST_HAPPENINGS == len(main.findall(".//ol/li"))
