"""Proxies that come and go, are refused, or wait for something."""

import asyncio
import logging
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.controller.inputs import NO_BOOTSTRAP, NO_ID
from consul_ebpf.model.values import (
    Credentials,
    Login,
    Proxy,
    ProxyFiles,
)
from consul_ebpf.testing import (
    MemoryMapBackend,
)
from consul_ebpf.tokens.memory import Retired, TokenMemory
from tests.lab.serving import (
    API,
    JOB,
    SERVERS,
    WEB,
    Host,
)

pytestmark = pytest.mark.looptime(start=0)


async def test_a_proxy_that_goes_leaves_nothing_but_its_vip(tmp_path: Path) -> None:
    """Which it gets again when it is back."""
    async with Host(tmp_path, WEB, API).serving() as host:
        await host.until_served(WEB, API)
        before = dict(host.table.vips)
        host.workloads.set([API])
        await host.until_served(API)
        assert not (tmp_path / "web").exists()
        assert 1 == len(host.table.vips)
        host.workloads.set([API, WEB, JOB])
        await host.until_served(API, WEB, JOB)
        assert before.keys() < host.table.vips.keys()
        addresses = [each.address for each in before]
        text = (tmp_path / "web" / "bootstrap.json").read_text()
        assert any(f'"{address}"' in text for address in addresses)


async def test_a_refused_proxy_hurts_no_other_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once for each change of something else; and its end is told too."""
    bad = Proxy("../x", "host1", owner="drop-in.toml")
    async with Host(tmp_path, WEB, bad).serving() as host:
        await host.until_served(WEB)
        host.workloads.set([bad, WEB, API])
        await host.until_served(WEB, API)
        host.workloads.set([WEB])
        await host.until_served(WEB)
    told = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert 1 == len(told)
    assert "not served" in told[0].getMessage()
    assert "drop-in.toml" in told[0].getMessage()
    assert [tmp_path / "vips.json", tmp_path / "web"] == sorted(tmp_path.iterdir())


async def test_fault_27_two_that_want_one_vip_are_told_of_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first has it."""
    wanted = IPv4Address("127.64.9.9")
    one, other = (Proxy(n, "h", vip=wanted, owner=f"{n}.toml") for n in ("one", "two"))
    async with Host(tmp_path, one, other, WEB).serving() as host:
        await host.until_served(one, WEB)
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert "one.toml" in told
    assert "two.toml" in told


async def test_fault_30_a_full_table_keeps_who_is_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the order of the list; there is room when one goes."""
    backend = MemoryMapBackend(capacity=2)
    async with Host(tmp_path, WEB, API, backend=backend).serving() as host:
        await host.until_served(WEB, API)
        before = host.table.vips
        host.workloads.set([JOB, WEB, API])
        await host.until(lambda: 1 == host.told[-1].refused)
        assert {"web", "api"} == host.bootstraps()
        assert before == host.table.vips
        host.workloads.set([JOB, API])
        await host.until_served(JOB, API)
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert "proxy job" in told
    assert "kernel.max_proxies" in told


async def test_fault_16_the_token_is_written_and_rotated_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new one is in the file within seconds; the bootstrap stays as it is."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "the-token"
    file.write_text("secret-one")
    host = Host(tmp_path / "run", WEB, token_file=file)
    run = tmp_path / "run"
    async with host.serving():
        await host.until_served(WEB)
        assert "secret-one" in host.token(WEB)
        bootstrap = (run / "web" / "bootstrap.json").stat().st_mtime_ns
        file.write_text("secret-two")
        await host.until(lambda: "secret-two" in host.token(WEB))
        assert bootstrap == (run / "web" / "bootstrap.json").stat().st_mtime_ns
    assert "secret" not in (run / "web" / "bootstrap.json").read_text()
    assert "secret" not in caplog.text
    assert "secret" not in repr(host.runner)


async def test_no_bootstrap_is_written_while_its_token_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy would not start; others are served, and it is when the way is free."""
    file, run = tmp_path / "the-token", tmp_path / "run"
    file.write_text("secret")
    (run / "web" / "token.json").mkdir(parents=True)
    async with Host(run, WEB, API, token_file=file).serving() as host:
        await host.until_served(API)
        assert not host.told[-1].complete
        await asyncio.sleep(60)
        assert {"api"} == host.bootstraps()
        (run / "web" / "token.json").rmdir()
        await host.until_served(WEB, API)
        assert host.told[-1].complete
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert str(run / "web") in told


async def test_a_token_that_cannot_be_read_any_more_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once."""
    file, run = tmp_path / "the-token", tmp_path / "run"
    file.write_text("secret")
    async with Host(run, WEB, token_file=file).serving() as host:
        await host.until_served(WEB)
        file.unlink()
        await asyncio.sleep(60)
        assert not host.task.done()
        assert "secret" in host.token(WEB)
    told = [r.getMessage() for r in caplog.records if str(file) in r.getMessage()]
    assert [
        f"token file {file}: No such file or directory; keeping the last good one"
    ] == told


async def test_without_its_token_a_proxy_is_programmed_and_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its VIP leads somewhere already; the bootstrap comes with the token."""
    file, run = tmp_path / "the-token", tmp_path / "run"
    async with Host(run, WEB, token_file=file).serving() as host:
        await host.until(lambda: bool(host.told))
        assert (1, 1) == (host.told[-1].proxies, host.told[-1].refused)
        assert not host.bootstraps()
        file.write_text("secret")
        await host.until_served(WEB)
        assert host.told[-1].refused == 0
    (told, *_) = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert "proxy web (test): no bootstrap yet: no ACL token yet: " in told


async def test_a_proxy_whose_id_comes_late_is_served_then(tmp_path: Path) -> None:
    """With the VIP it had before, in its own place; its token is kept by its key."""
    volume = tmp_path / "volume"
    late = Proxy(
        id="",
        node="",
        key="pod-1",
        credentials=Credentials(token="own"),  # an example
        files=ProxyFiles(str(volume), seen_at="/consul"),
    )
    async with Host(tmp_path / "run", late, WEB).serving() as host:
        await host.until_served(WEB)
        await asyncio.sleep(60)
        assert host.told[-1].refusals == {"pod-1": f"{NO_BOOTSTRAP}: {NO_ID}"}
        assert not (volume / "bootstrap.json").exists()
        before = host.table.vips
        host.workloads.set([replace(late, id="api", node="host1"), WEB])
        await host.until((volume / "bootstrap.json").exists)
        assert before == host.table.vips
        assert '"own"' in (volume / "token.json").read_text()
        assert not host.told[-1].refusals
        host.workloads.set([WEB])
        await host.until(lambda: len(host.table.vips) == 1)
        await host.until(lambda: not volume.exists())


async def test_fault_k_a_pod_lives_and_ends_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Registered late; then its registration, token and volume go, and it last."""
    volume = tmp_path / "volume"
    volume.mkdir()
    late = Proxy(
        id="",
        node="n1-virtual",
        key="default.web.1",
        credentials=Credentials(login=Login("k8s", bearer_token_file="/run/web.jwt")),
        files=ProxyFiles(str(volume), "/consul-ebpf", exists_already=True),
        awaits="Consul has no registration of pod default/web yet",
    )
    host = Host(tmp_path / "run", late, WEB)
    async with host.serving():
        await host.until((volume / "token.json").exists)
        assert host.told[-1].refusals == {late.key: f"{NO_BOOTSTRAP}: {late.awaits}"}
        known = replace(late, id="web-web-sidecar-proxy", awaits="")
        host.workloads.set([known, WEB])
        await host.until((volume / "bootstrap.json").exists)
        assert not host.told[-1].refusals

        host.workloads.set([replace(known, ended=True), WEB])
        host.acl.valid.clear()
        await asyncio.sleep(300)
        assert (len(host.acl.logins), len(host.table.vips)) == (1, 2)
        assert (volume / "bootstrap.json").exists()
        for each in volume.iterdir():
            each.unlink()
        volume.rmdir()
        await asyncio.sleep(300)
        assert not volume.exists()
        host.workloads.set([WEB])
        await host.until(lambda: len(host.table.vips) == 1)
        await asyncio.sleep(5)
        assert not TokenMemory(tmp_path / "run").load()[0]
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


async def test_an_old_token_outlives_a_start_that_serves_nobody_yet(
    tmp_path: Path,
) -> None:
    """An Envoy may use it: nobody knows what the files hold before the first round."""
    old = Retired(WEB.key, Login("jwt", bearer_token="b"), "old")
    TokenMemory(tmp_path).save({}, [old])
    host = Host(tmp_path, WEB, servers=None)
    host.acl.valid.add("old")
    async with host.serving():
        await host.until(lambda: bool(host.told))
        await asyncio.sleep(60)
        assert host.acl.valid == {"old"}
        host.source.set(SERVERS)
        await host.until_served(WEB)
        await host.until(lambda: not host.acl.valid)
