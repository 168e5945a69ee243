"""VIPs bound to their pods, by a real controller without privileges of its own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.kernel.conftest import Kernel, connect
from tests.lab.controller import COMMAND, ControllerProcess
from tests.lab.live import live_server
from tests.lab.processes import wait_until
from tests.lab.scratch import Netns, scratch_bpffs, scratch_cgroup, scratch_netns

pytestmark = pytest.mark.kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        yield Kernel(cgroup, bpffs)


def outcome(call: Callable[[], Any]) -> str:
    try:
        return str(call())
    except OSError as error:
        return type(error).__name__


def test_fault_29_a_vip_lives_and_dies_with_its_pods_namespace(kernel: Kernel) -> None:
    """Bound as soon as it is served, known nowhere else, and gone with the pod."""
    with live_server("127.0.21.1") as server, ExitStack() as stack:
        pod = kernel.cgroup / "pod"
        pod.mkdir()
        gone = stack.enter_context(ExitStack())
        netns: Netns = gone.enter_context(scratch_netns())
        config = {
            "consul": {
                "source": "static",
                "addresses": [server],
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(kernel.cgroup), "bpffs": str(kernel.bpffs)},
            "proxies": [
                {
                    "id": "by-netns",
                    "node": "h",
                    "vip": "127.64.0.1",
                    "netns": str(netns.path),
                },
                {
                    "id": "by-cgroup",
                    "node": "h",
                    "vip": "127.64.0.2",
                    "cgroup": str(pod),
                },
                {"id": "free", "node": "h", "vip": "127.64.0.3"},
            ],
        }
        with ControllerProcess(config) as controller:

            def proxies() -> dict[str, dict[str, Any]]:
                return {each["id"]: each for each in controller.status()["proxies"]}

            assert {name: each["bound"] for name, each in proxies().items()} == {
                "by-netns": ["netns"],
                "by-cgroup": ["cgroup"],
                "free": [],
            }
            told = controller.run("doctor")
            assert f"ok   through a VIP to {server}: " in told
            assert "VIPs: 2 of 3 bound to their pods; not bound: free" in told

            def reach(vip: str, cgroup: Kernel = kernel) -> str:
                return outcome(lambda: cgroup.call(lambda: connect(vip)))

            refused = "PermissionError"
            host, port = server.split(":")
            there = str((host, int(port)))
            assert reach("127.64.0.3") == there
            assert reach("127.64.0.1") == refused
            assert reach("127.64.0.2") == refused
            assert reach("127.64.0.2", Kernel(pod, kernel.bpffs)) == there

            inside = lambda: netns.call(lambda: connect("127.64.0.1"))  # noqa: E731
            outcome(lambda: kernel.call(inside))  # nobody listens in there
            counted = {name: each["connects"] for name, each in proxies().items()}
            assert counted == {"by-netns": 1, "by-cgroup": 1, "free": 1}

            gone.close()
            wait_until(lambda: "by-netns" not in proxies(), "its VIP taken out", 10)
            assert proxies().keys() == {"by-cgroup", "free"}
            assert "proxy by-netns" in controller.child.last_words(100)


def test_doctor_says_what_each_feature_lacks(kernel: Kernel) -> None:
    """What one can do without is a warning; loading is not."""
    settings = {
        "consul.source": "static",
        "consul.tls.disabled": "true",
        "kernel.cgroup": str(kernel.cgroup),
        "kernel.bpffs": str(kernel.bpffs),
    }
    with live_server("127.0.21.2") as server:
        settings["consul.addresses"] = f'["{server}"]'
        flags = [f"--set={key}={value}" for key, value in settings.items()]

        def doctor(*capabilities: str) -> tuple[int, str]:
            bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
            before = ["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--"]
            ended = subprocess.run(
                [*before, *COMMAND, "doctor", *flags],
                capture_output=True,
                text=True,
                check=False,
            )
            return ended.returncode, ended.stdout

        code, said = doctor("sys_admin")
        assert code == 0, said
        assert "ok   to load, attach and start: CAP_SYS_ADMIN" in said
        assert "warn to cut connections to dead servers: CAP_NET_ADMIN missing" in said
        code, said = doctor("net_admin")
        assert code == 3
        assert "FAIL to load, attach and start: CAP_SYS_ADMIN missing" in said
        assert "ok   to cut connections to dead servers" in said
