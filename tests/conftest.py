"""What tests may need, what happens where it is missing, and that nothing is left."""

import asyncio
import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType

import hypothesis
import pytest

from tests.lab import browser, debian, promtool
from tests.lab.kubernetes import cluster
from tests.lab.leftovers import Traces, adopt_orphans, sweep
from tests.lab.long import LONG
from tests.lab.parts import COREDNS, HELM, find_consul, find_envoy
from tests.lab.scratch import cgroup2_mount

SYSTEM_PYTHON = "/usr/bin/python3"


def _missing_kernel() -> str:
    if os.geteuid() != 0:
        return "not root"
    if not (importlib.util.find_spec("bcc") or _system_python_has_bcc()):
        return "no BCC: apt-get install python3-bpfcc, and run with nox"
    if cgroup2_mount() is None:
        return "cgroup v2 is not mounted"
    return ""


def _system_python_has_bcc() -> bool:
    look = "import importlib.util, sys; sys.exit(not importlib.util.find_spec('bcc'))"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", look], check=False).returncode == 0
    except FileNotFoundError:
        return False


def _missing_consul() -> str:
    return "" if find_consul() else "no Consul: run with nox, or set CONSUL_BIN"


def _missing_envoy() -> str:
    return "" if find_envoy() else "no Envoy: run with nox, or set ENVOY_BIN"


def _missing_coredns() -> str:
    return "" if COREDNS.find() else "no CoreDNS: run with nox, or set COREDNS_BIN"


def _missing_kubernetes() -> str:
    if os.geteuid() != 0:
        return "not root"
    return cluster.missing()


def _missing_helm() -> str:
    return "" if HELM.find() else "no Helm: run with nox, or set HELM_BIN"


PARTS: dict[str, Callable[[], str]] = {
    "kernel": _missing_kernel,
    "consul": _missing_consul,
    "envoy": _missing_envoy,
    "coredns": _missing_coredns,
    "kubernetes": _missing_kubernetes,
    "resolvers": debian.missing,
    "helm": _missing_helm,
    "promtool": promtool.missing,
    "browser": browser.missing,
}
"""Marker -> why it cannot be had here; empty: it can."""

BEFORE = pytest.StashKey[Traces]()
LEFT = pytest.StashKey[list[str]]()

# How long an example takes says more of who else uses the machine than of the code.
# Examples are others in each run, so many short runs see as much as a long one.
hypothesis.settings.register_profile(
    "here", deadline=None, max_examples=200 if LONG else 25
)
hypothesis.settings.load_profile("here")

REQUIRED = os.environ.get("CONSUL_EBPF_REQUIRE", "").replace(",", " ").split()
"""Markers whose absence is a failure, not a skip: CI sets all of them."""


def pytest_configure(config: pytest.Config) -> None:
    if unknown := set(REQUIRED) - set(PARTS):
        raise pytest.UsageError(f"CONSUL_EBPF_REQUIRE names no part: {unknown}")

    # A run that is told to stop still removes what it made.
    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits for long, so that the rest of a run fills the time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_sessionstart(session: pytest.Session) -> None:
    # looptime asks for the current event loop around each test that is not async; on
    # Python 3.11 asking makes one, which nobody closes, unless told there is none.
    asyncio.set_event_loop(None)
    adopt_orphans()
    sweep()
    session.config.stash[BEFORE] = Traces.now()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    left = session.config.stash[BEFORE].left_since()
    session.config.stash[LEFT] = left
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if left := config.stash.get(LEFT, []):
        terminalreporter.section("left behind by the tests", red=True)
        for trace in left:
            terminalreporter.line(trace)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, whatever its scope."""
    for part in PARTS:
        if item.get_closest_marker(part) and (why := _why_missing(part)):
            if part in REQUIRED:
                pytest.fail(f"{part} is required here, but: {why}", pytrace=False)
            pytest.skip(why)


@cache
def _why_missing(part: str) -> str:
    return PARTS[part]()


@pytest.fixture(scope="session")
def consul_bin() -> Path:
    """The Consul binary; for tests marked `consul`."""
    found = find_consul()
    assert found, _missing_consul()
    return found


@pytest.fixture(scope="session")
def envoy_bin() -> Path:
    """The Envoy binary, not a script around it; for tests marked `envoy`."""
    found = find_envoy()
    assert found, _missing_envoy()
    return found
