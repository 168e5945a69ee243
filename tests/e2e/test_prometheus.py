"""A real Prometheus, and a person, look at a host on which much goes wrong."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ailing import LISTEN, NO_LOGIN, OWN, WRONG, Ailing
from tests.lab.controller import COMMAND
from tests.lab.http_request import request
from tests.lab.processes import LabError, wait_until
from tests.lab.prometheus import Prometheus, queries
from tests.lab.secured import Secured

pytestmark = [
    *(pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy),
    *(pytest.mark.promtool, pytest.mark.slow),
    pytest.mark.parametrize("secured", ["1h"], indirect=True),
]

PROMETHEUS = "127.0.0.1:20398"

PATIENCE = 120.0
"""Seconds."""


@pytest.fixture
def host(secured: Secured, envoy_bin: Path) -> Iterator[Ailing]:
    with Ailing.running(secured, envoy_bin) as host:
        yield host


@pytest.fixture
def prometheus(host: Ailing) -> Iterator[Prometheus]:
    with Prometheus(PROMETHEUS, [LISTEN]) as running:
        yield running


def said(host: Ailing, command: str) -> str:
    """Return what a command prints of it, whatever its exit code."""
    argv = [*COMMAND, command, *host.mesh.controller.arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def test_every_alert_that_a_host_can_raise_and_every_panel(
    host: Ailing, prometheus: Prometheus
) -> None:
    """A dead server, refused tokens and logins; at last no server, no controller.

    The dashboard's queries are put to the same Prometheus: none fails, each has series.
    """
    host.delete_token()
    dead = host.kill_server()
    prometheus.wait_firing(
        [
            "ConsulEbpfServerFailing",
            "ConsulEbpfProxiesNotConnected",
            "ConsulEbpfProxiesWithProblems",
            "ConsulEbpfFailing",
            "ConsulEbpfLoginsFail",
        ],
        PATIENCE,
    )
    lacking = {each.expression for each in queries()}

    def all_drawn() -> bool:
        for expression in list(lacking):
            if prometheus.series(expression):
                lacking.remove(expression)
        return not lacking

    try:
        wait_until(all_drawn, "series", PATIENCE)
    except LabError:
        raise AssertionError(lacking) from None
    # Consul forgets a dead server; the alert, and who looks, do not.
    gone = f"server {dead} died, and Consul lists it no more"
    wait_until(lambda: gone in said(host, "status"), "Consul forgets", PATIENCE)
    assert dead in prometheus.firing()["ConsulEbpfServerFailing"]
    told = f"proxy {OWN}: the ACL token in "
    wait_until(lambda: told in said(host, "status"), "a deleted token is told", 90)
    assert_whoever_looks_is_told(host, gone)
    assert "ConsulEbpfControllerDown" not in prometheus.firing()
    host.kill_other_servers()
    prometheus.wait_firing(["ConsulEbpfNoServerReady", "ConsulEbpfDnsDown"], PATIENCE)
    nobody = "no Consul server answers this host; 2 did before"
    assert nobody in said(host, "status").splitlines()[2]
    host.mesh.controller.kill()
    prometheus.wait_firing(["ConsulEbpfControllerDown"], PATIENCE)


def assert_whoever_looks_is_told(host: Ailing, gone: str) -> None:
    """Of each thing that is wrong, and what to do, in every view."""
    page = request("GET", f"http://{LISTEN}/").decode()
    views = {"page": page, "status": said(host, "status"), "top": said(host, "top")}
    for name, view in views.items():
        assert gone in view, name
        assert "2 of 3 servers ready" in view, name
        for proxy in (WRONG, OWN):
            assert f"proxy {proxy}: the ACL token in " in view, (name, proxy)
        assert f"proxy {NO_LOGIN}: " in view, name
        assert "put a valid token there" in view, name
    assert "warn status: FAILING: 2 of 3 servers ready" in said(host, "doctor")
