"""`doctor` goes the whole way to real gRPC servers, with others at the hook."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_ebpf.kernel.scratch import PREFIX
from tests.kernel.conftest import Kernel
from tests.kernel.test_trial import SERVICE, translating
from tests.lab.controller import COMMAND, ControllerProcess, toml
from tests.lab.live import live_server
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = pytest.mark.kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


def config(kernel: Kernel, *servers: str) -> dict[str, object]:
    return {
        "consul": {
            "source": "static",
            "addresses": list(servers),
            "tls": {"disabled": True},
        },
        "kernel": {"cgroup": str(kernel.cgroup), "bpffs": str(kernel.bpffs)},
    }


def doctor(kernel: Kernel, directory: Path, *servers: str) -> tuple[int, list[str]]:
    """Run it in the cgroup; return its exit code and its lines."""
    file = directory / "config.toml"
    file.write_text(toml(config(kernel, *servers)))

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, "doctor", "--config", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout

    code, said = kernel.call(run)
    return code, said.splitlines()


def way(lines: list[str], server: str) -> str:
    (found,) = [line for line in lines if f" through a VIP to {server}: " in line]
    return found


def test_fault_107_doctor_goes_the_whole_way(kernel: Kernel, tmp_path: Path) -> None:
    """Without a controller, with one, and with one that was killed; it leaves nothing
    and takes nothing away."""
    with live_server("127.0.22.1") as one, live_server("127.0.22.2") as two:
        for state in ("nothing there", "running", "killed"):
            if state == "running":
                controller = ControllerProcess(config(kernel, one, two))
                controller.__enter__()
            if state == "killed":
                controller.kill()
            code, lines = doctor(kernel, tmp_path, one, two)
            assert code == 0, "\n".join(lines)
            for server in (one, two):
                assert way(lines, server).startswith("ok   ")
            if state == "nothing there":
                assert list(kernel.bpffs.glob("consul-ebpf*")) == []
            else:
                assert controller.status()["proxies"] == []
        controller.__exit__(None, None, None)


def test_fault_107_doctor_says_where_it_stops(kernel: Kernel, tmp_path: Path) -> None:
    """A load balancer at connect4 translates for the probe, and not for an Envoy."""
    with live_server("127.0.22.3") as behind:
        address, port = behind.split(":")
        service = f"{SERVICE}:{port}"
        with translating(kernel, address) as attach_it:
            attach_it()
            code, lines = doctor(kernel, tmp_path, service)
    assert code == 1
    assert any(line.startswith(f"ok   server {service}: ") for line in lines)
    said = way(lines, service)
    assert said.startswith("FAIL ")
    assert "TCP failed" in said
    assert "'connect4'" in said


def test_fault_107_a_doctor_that_is_ended_leaves_nothing(
    kernel: Kernel, tmp_path: Path
) -> None:
    """By SIGTERM at once; by SIGKILL until the next one."""

    def traces() -> list[Path]:
        places = (kernel.cgroup, kernel.bpffs)
        return [each for place in places for each in place.glob(f"{PREFIX}*")]

    def caught(number: signal.Signals) -> int:
        """End it while it has something of its own in the kernel."""
        command = [*COMMAND, "doctor", "--config", str(tmp_path / "config.toml")]
        for _ in range(20):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
                while run.poll() is None and not traces():
                    pass
                if run.poll() is None:
                    run.send_signal(number)
            if run.returncode in {128 + number, -number}:
                return run.returncode
        raise AssertionError("it was never caught at work")

    with live_server("127.0.12.9") as server:
        (tmp_path / "config.toml").write_text(toml(config(kernel, server)))
        assert 128 + signal.SIGTERM == caught(signal.SIGTERM)
        assert traces() == []
        caught(signal.SIGKILL)
        _, lines = doctor(kernel, tmp_path, server)
        assert way(lines, server).startswith("ok")
        assert traces() == []
