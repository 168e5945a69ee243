"""The limit of inotify instances against the number of proxies."""

import logging
from pathlib import Path

import pytest

from consul_ebpf.config.schema import Config, Consul, Tls
from consul_ebpf.kernel.inotify import InotifyLimit, Room
from consul_ebpf.wiring.files import instances_per_envoy

READ_ONLY = Path("/proc/sys/kernel/cap_last_cap")
"""A small number of the kernel's that nobody may change."""

CA = Tls(ca_certs="/ca.pem")
BOTH = Tls(ca_certs="/ca.pem", cert="/cert.pem", key="/key.pem")


@pytest.mark.parametrize(
    ("tls", "each"),
    [
        (Tls(disabled=True, ca_certs="/ca.pem"), 0),
        (Tls(), 0),
        (CA, 1),
        (Tls(ca_certs="/ca.pem", insecure_skip_verify=True), 0),
        (BOTH, 2),
    ],
)
def test_what_an_envoy_takes(tls: Tls, each: int) -> None:
    """One for each file of TLS that it watches, and none for its token."""
    assert each == instances_per_envoy(Config(consul=Consul(tls=tls)))


def test_fault_112_the_limit_is_raised_before_it_bites(tmp_path: Path) -> None:
    """As proxies come, and never lowered."""
    path = tmp_path / "limit"
    path.write_text("128\n")
    limit = InotifyLimit(1, path)
    for proxies, expected in ((50, 128), (100, 264), (10, 264), (5000, 10064)):
        limit.make_room(proxies)
        assert int(path.read_text()) == expected


def test_fault_112_a_limit_that_may_not_be_raised_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, by the sysctl's name and what to do, and again for twice as many."""
    number = int(READ_ONLY.read_text())
    limit = InotifyLimit(1, READ_ONLY)
    with caplog.at_level(logging.WARNING):
        for proxies in (70, 71, 90, 300):
            limit.make_room(proxies)
    first, second = caplog.messages
    assert f"fs.inotify.max_user_instances is {number}: the Envoys of 70" in first
    assert "run sysctl -w fs.inotify.max_user_instances=204" in first
    assert "300 proxies" in second
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events == ["few_inotify"] * 2


@pytest.mark.parametrize("proxies", [1, 1000])
def test_in_words(proxies: int) -> None:
    """One line, whichever way it stands."""
    assert str(Room(128, proxies, 1)).isprintable()
