"""What a running controller may still do, and what it needs to start."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.kernel import capabilities, libbpf, objects
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT
from tests.kernel.conftest import Kernel, connect
from tests.lab.controller import COMMAND, ControllerProcess, toml
from tests.lab.endpoint import ask
from tests.lab.live import live_server
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup
from tests.lab.unit import UNIT, as_the_unit, setting

pytestmark = pytest.mark.kernel

NONE = "0" * 16


@pytest.fixture
def server() -> Iterator[str]:
    with live_server("127.0.17.1") as endpoint:
        yield endpoint


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


@pytest.fixture
def base(server: str, kernel: Kernel) -> dict[str, Any]:
    return {
        "consul": {
            "source": "static",
            "addresses": [server],
            "tls": {"disabled": True},
        },
        "kernel": {"cgroup": str(kernel.cgroup), "bpffs": str(kernel.bpffs)},
        "proxies": [{"id": "web-1-sidecar-proxy", "node": "h", "vip": "127.64.0.1"}],
    }


def capabilities_of(pid: int) -> dict[str, set[str]]:
    """Return the capability sets of a process's threads, by their names."""
    found: dict[str, set[str]] = {}
    for status in Path("/proc").glob(f"{pid}/task/*/status"):
        for name, bits in re.findall(
            r"^(Cap\w+):\t(\w+)$", status.read_text(), re.MULTILINE
        ):
            found.setdefault(name, set()).add(bits)
    return found


def redirects(kernel: Kernel, server: str) -> None:
    peer = kernel.call(connect)
    assert f"{peer[0]}:{peer[1]}" == server


def test_a_running_controller_has_no_capability_in_any_thread(
    base: dict[str, Any], kernel: Kernel, server: str
) -> None:
    """And keeps the tables true: proxies come, links are put back."""
    with ControllerProcess(base) as controller:
        pid = controller.child.pid
        time.sleep(1)  # let it make all of its threads
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) > 3
        sets = capabilities_of(pid)
        assert {name: {NONE} for name in sets} == sets
        assert len(sets) == 5
        redirects(kernel, server)
        link = libbpf.obj_get(Pins(kernel.bpffs).current / "connect4")
        assert libbpf.lib().bpf_link_detach(link) == 0
        os.close(link)

        def again() -> bool:
            return bool(controller.status()["kernel"]["attached"])

        begun = time.monotonic()
        wait_until(again, "the link", 10)
        assert time.monotonic() - begun < 5
        redirects(kernel, server)
        assert "attached it again" in controller.child.last_words(20)

        def counted() -> bool:
            return bool(controller.status()["controller"]["events"].get("mended"))

        wait_until(counted, "the count", 5)
        assert controller.terminate() == 0


def bits(*names: str) -> str:
    """Return a set of capabilities as /proc shows it."""
    return f"{sum(1 << capabilities.NUMBERS[name] for name in names):016x}"


SECRET = "5e7f6f0c-0000-4000-8000-000000000000"
NOBODY = 65534


def another_users_token(directory: Path) -> dict[str, Any]:
    """Make a token's file as Nomad does: closed, in a closed directory."""
    closed = directory / "secrets"
    closed.mkdir(0o700)
    token = closed / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    for path in (token, closed):
        os.chown(path, NOBODY, NOBODY)
    return {"type": "static", "token_file": str(token)}


@pytest.mark.parametrize("where", ["configuration", "drop-in", "registered"])
@pytest.mark.parametrize("cuts", [True, False])
@pytest.mark.parametrize("owned", [False, True])
def test_fault_98_the_least_is_kept_and_is_enough(
    base: dict[str, Any], tmp_path: Path, where: str, cuts: bool, owned: bool
) -> None:
    """Under the unit's capabilities, wherever a proxy with a closed token is named."""
    entry = {
        "id": "own",
        "node": "h",
        "credentials": another_users_token(tmp_path),
    }
    drop_ins = tmp_path / "drop-ins"
    drop_ins.mkdir()
    base["workloads"] = {"directory": str(drop_ins)}
    base["kernel"]["destroy_sockets"] = cuts
    base["bootstrap"] = {"owner": str(NOBODY)} if owned else {}
    if where == "configuration":
        base["proxies"].append(entry)
    elif where == "drop-in":
        (drop_ins / "own.toml").write_text(toml({"proxies": [entry]}))
    with ControllerProcess(base, before=as_the_unit()) as controller:
        if where == "registered":
            del entry["id"]
            socket_ = controller.bootstraps / "api.sock"
            assert ask(socket_, "PUT", "/v1/proxies/own", entry)[0] == 201
        controller.bootstrap("own")
        written = controller.bootstraps / "own" / "token.json"
        assert SECRET in written.read_text()
        assert (written.stat().st_uid, written.stat().st_mode & 0o777) == (
            NOBODY if owned else 0,
            0o600,
        )
        pid = controller.child.pid
        assert capabilities_of(pid)["CapEff"] == {bits("chown") if owned else NONE}
        helper = {"sys_admin", "sys_ptrace", "dac_read_search"}
        helper |= {"net_admin"} if cuts else set()
        guards = children_of(pid)
        assert guards
        for guard in guards:
            assert capabilities_of(guard)["CapEff"] == {bits(*helper)}
        said = controller.log()
        assert said.count("CAP_") == 1 + len(helper) if owned else len(helper)
        (line,) = [text for text in said.splitlines() if "the helper keeps CAP" in text]
        assert ("kept CAP_CHOWN (bootstrap.owner is uid 65534)" in line) == owned
        assert ("gave up all capabilities;" in line) != owned
        assert SECRET not in said
        assert "Traceback" not in said
        if owned:  # a start writes nothing anew, though it may not read what is there
            controller.terminate()
            controller.start()
            time.sleep(1)
            assert f"wrote {written}" not in controller.log()[len(said) :]


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in found.split()]


def test_fault_98_an_owner_that_files_cannot_be_given_to(
    base: dict[str, Any], kernel: Kernel, tmp_path: Path
) -> None:
    """Refused before anything is attached, by the capability's name; `doctor`, too."""
    base["bootstrap"] = {"owner": str(NOBODY)}
    without = ("setpriv", "--bounding-set=-chown", "--")
    code, said = run(base, tmp_path, *without)
    assert code == 3
    assert "needs CAP_CHOWN" in said
    assert len(said.splitlines()) == 1
    assert not Pins(kernel.bpffs).current.exists()
    doctor = subprocess.run(
        [*without, *COMMAND, "doctor", "--config", str(tmp_path / "config.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [line for line in doctor.stdout.splitlines() if "CAP_CHOWN" in line]
    assert failed[0].startswith("FAIL to write files for bootstrap.owner"), failed


def _in(config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    bootstrap = {"directory": str(tmp_path / "run"), **config.get("bootstrap", {})}
    return {**config, "bootstrap": bootstrap}


def run(config: dict[str, Any], tmp_path: Path, *before: str) -> tuple[int, str]:
    """Run a controller that is to fail; return its code and what it said."""
    file = tmp_path / "config.toml"
    file.write_text(toml(_in(config, tmp_path)))
    ended = subprocess.run(
        [*before, *COMMAND, "run", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("running", [False, True])
def test_fault_32_without_the_privilege_nothing_is_changed(
    base: dict[str, Any], kernel: Kernel, tmp_path: Path, server: str, running: bool
) -> None:
    """Exit code 3, one line that names the capability; what runs goes on."""
    if running:
        with ControllerProcess(base):
            pass
    before = Pins(kernel.bpffs).links()
    code, said = run(
        base, tmp_path, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"
    )
    assert code == 3
    assert "CAP_SYS_ADMIN" in said
    assert len(said.splitlines()) == 1
    assert Pins(kernel.bpffs).links() == before
    assert not Pins(kernel.bpffs).staging.exists()
    if running:
        redirects(kernel, server)


def _not_mounted(path: Path) -> None:
    subprocess.run(["umount", "--lazy", path], check=True)


def _read_only(path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)


def _another_kind(path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)


@pytest.mark.parametrize("spoil", [_not_mounted, _read_only, _another_kind])
def test_fault_38_no_place_for_pins_is_refused_before_anything_is_attached(
    base: dict[str, Any],
    kernel: Kernel,
    tmp_path: Path,
    spoil: Callable[[Path], None],
) -> None:
    """Exit code 3, and the line names the place."""
    spoil(kernel.bpffs)
    try:
        code, said = run(base, tmp_path)
    finally:
        if spoil is _another_kind:
            subprocess.run(["umount", "--lazy", kernel.bpffs], check=True)
    assert code == 3, said
    assert str(kernel.bpffs) in said
    assert len(said.splitlines()) == 1
    cgroup = os.open(kernel.cgroup, os.O_RDONLY)
    for hook in CONNECT.hooks.values():
        assert objects.programs_at(cgroup, hook) == ([], 0)
    os.close(cgroup)


def test_fault_66_out_of_descriptors_it_goes_on(
    base: dict[str, Any], kernel: Kernel, server: str
) -> None:
    """No crash, redirecting goes on; with room again it follows what changed."""
    libc = ctypes.CDLL(None, use_errno=True)

    def limit(pid: int, soft: int) -> None:
        numbers = (ctypes.c_uint64 * 2)(soft, 4096)
        assert libc.prlimit(pid, 7, numbers, None) == 0  # RLIMIT_NOFILE

    with ControllerProcess(base) as controller:
        pid = controller.child.pid
        limit(pid, 3)
        time.sleep(6)
        controller.child.must_run()
        redirects(kernel, server)
        limit(pid, 1024)
        (Pins(kernel.bpffs).current / "vips").unlink()
        back = Pins(kernel.bpffs).current / "vips"
        wait_until(back.exists, "the pin put back", 10)
        controller.child.must_run()
        assert "Traceback" not in controller.child.last_words(1000)


def test_fault_67_a_stuck_controller_pings_no_watchdog(
    base: dict[str, Any], kernel: Kernel, tmp_path: Path, server: str
) -> None:
    """It pings while it works; systemd's restart, a SIGKILL and a start, is safe."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        os.environ.update(NOTIFY_SOCKET=address, WATCHDOG_USEC="30000000")
        try:
            with ControllerProcess(base) as controller:
                assert pings(systemd, 5) >= 2
                controller.child.freeze()
                assert pings(systemd, 1) <= 1  # one may have been on its way
                assert pings(systemd, 4) == 0
                redirects(kernel, server)
                controller.child.signal(signal.SIGABRT)  # as systemd does it
                controller.child.kill()
                redirects(kernel, server)
                controller.start()
                redirects(kernel, server)
                assert pings(systemd, 5) >= 2
        finally:
            del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]


def pings(systemd: socket.socket, seconds: float) -> int:
    """Count watchdog pings for a while."""
    count, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        systemd.settimeout(left)
        try:
            count += systemd.recv(1000) == b"WATCHDOG=1"
        except TimeoutError:
            break
    return count


def test_the_units_capabilities_are_enough(
    base: dict[str, Any], kernel: Kernel, tmp_path: Path, server: str
) -> None:
    """No others, no new privileges, no memory both written and executed: it serves."""
    assert setting("MemoryDenyWriteExecute") == setting("NoNewPrivileges") == "yes"
    deny = (
        "import ctypes, os, sys\n"
        "assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n"  # PR_SET_MDWE
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    before = [*as_the_unit(), sys.executable, "-c", deny]
    file = tmp_path / "config.toml"
    file.write_text(toml({**base, "bootstrap": {"directory": str(tmp_path / "run")}}))
    process = subprocess.Popen(
        [*before, *COMMAND, "run", "--config", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready: 1 servers, 1 proxies"), process.communicate()
        redirects(kernel, server)
        assert capabilities_of(process.pid)["CapEff"] == {NONE}
        process.terminate()
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_the_unit_is_sound_and_hardened(tmp_path: Path) -> None:
    """By systemd's own judgement: every setting is known, exposure at most 3.5."""
    here = tmp_path / UNIT.name  # with a command that is there
    here.write_text(UNIT.read_text().replace("/opt/consul-ebpf/bin/", "/bin/env "))
    checked = subprocess.run(
        ["systemd-analyze", "verify", here], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=35", UNIT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout
