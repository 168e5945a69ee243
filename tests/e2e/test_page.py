"""The page in a real browser, while a server dies."""

from collections.abc import Iterator

import pytest

from tests.lab.browser import Browser
from tests.lab.mesh import Mesh

pytestmark = [
    *(pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy),
    pytest.mark.browser,
]

LISTEN = "127.0.0.1:20395"
PAGE = f"http://{LISTEN}/"
PATIENCE = 15_000
"""Milliseconds."""


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def test_a_server_dies_and_its_proxies_move_before_ones_eyes(
    mesh: Mesh, browser: Browser
) -> None:
    """By the page's own script, and without JavaScript; it asks nobody else."""
    victim = next(n for n in range(3) if mesh.on_server(n))
    dead, moved = mesh.cluster.grpc_endpoints[victim], mesh.on_server(victim)
    page = browser.open(PAGE, color_scheme="light")
    plain = browser.open(PAGE, java_script_enabled=False)
    column = f"section:has(h3:text-is('{dead}'))"
    for each in (page, plain):
        each.wait_for_selector(f"{column} li:text-is('{moved[0]}')", timeout=PATIENCE)
    page.evaluate("document.body.dataset.same = 'yes'")
    page.wait_for_selector("#link:text-is('live')", timeout=PATIENCE)

    mesh.kill_server(victim)

    there = f"section.ready:has(li:text-is('{moved[0]}'))"
    for each in (page, plain):
        each.wait_for_selector(f"{column}.failing", timeout=PATIENCE)
        each.wait_for_selector(there, timeout=PATIENCE)
        assert "went from it to others" in each.inner_text(".ailments")
        assert "look at it in the daytime" in each.inner_text("main")
        assert f"moved from {dead} to " in each.inner_text(".timeline")
        assert moved[0] in each.inner_text("#table-proxies")
    assert page.evaluate("document.body.dataset.same") == "yes"  # never loaded again
    assert browser.complaints == []
    assert {PAGE, f"{PAGE}live"} == set(browser.requests)


def test_it_is_light_and_dark_and_fits_a_telephone(
    mesh: Mesh, browser: Browser
) -> None:
    """Texts and what is behind them change places; nothing is wider than the screen."""
    shades = []
    for scheme in ("light", "dark"):
        window = {"width": 360, "height": 700}
        page = browser.open(PAGE, color_scheme=scheme, viewport=window)
        page.wait_for_selector("section.ready", timeout=PATIENCE)
        style = "getComputedStyle(document.body)"
        shades.append(
            [page.evaluate(f"{style}.{each}") for each in ("color", "backgroundColor")]
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    light, dark = ([brightness(each) for each in pair] for pair in shades)
    assert light[0] < 0.3 < 0.7 < light[1]
    assert dark[1] < 0.3 < 0.7 < dark[0]
    mesh.controller.kill()
    page.wait_for_selector("body.stale", timeout=PATIENCE)
    assert "the controller does not answer" in page.inner_text("#link")


def brightness(color: str) -> float:
    """Return that of `rgb(r, g, b)`, from 0 to 1."""
    numbers = color.removeprefix("rgb(").removesuffix(")").split(",")
    return sum(map(int, numbers)) / 3 / 255
