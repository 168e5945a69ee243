"""Whether DNS can be had here, before anything of it is wired."""

import logging
from pathlib import Path

import pytest

from consul_ebpf.config.schema import Config, Dns, Kernel
from consul_ebpf.model.answers import Missing
from consul_ebpf.wiring.dns import open_dns


def config(directory: Path, *, enabled: bool) -> Config:
    nowhere = Kernel(cgroup=str(directory / "none"), bpffs=str(directory))
    return Config(kernel=nowhere, dns=Dns(enabled=enabled))


def test_fault_152_what_cannot_be_had_is_said_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, counted; the proxies are served all the same."""
    found = open_dns(config(tmp_path, enabled=True))
    assert isinstance(found, Missing)
    assert found.why.startswith("DNS is not served: ")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.__dict__["event"] == "dns_failed"
    assert f"{found.why}; the proxies are served" == record.getMessage()


def test_off_with_nothing_there_nothing_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing said."""
    assert open_dns(config(tmp_path, enabled=False)) is None
    assert not caplog.records
    assert list(tmp_path.iterdir()) == []
