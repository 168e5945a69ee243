"""`top` on real parts: on a terminal, and without one."""

import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.lab.controller import COMMAND
from tests.lab.mesh import Mesh
from tests.lab.terminal import Terminal

pytestmark = [pytest.mark.kernel, pytest.mark.consul, pytest.mark.envoy]


def test_a_dead_server_is_seen_with_the_controller_alive_and_dead(mesh: Mesh) -> None:
    """What is wrong, who moved where, and each key does what the last line says."""
    command = [*COMMAND, "top", *mesh.controller.arguments, "--interval", "0.2"]
    with Terminal(command) as screen:
        screen.wait_for("OK: 3 of 3 servers ready, 3 of 3 proxies connected")
        (proxy, *_) = mesh.on_server(0)
        dead = mesh.cluster.grpc_endpoints[0]
        mesh.kill_server(0)
        screen.wait_for(f"server {dead} does not answer")
        screen.wait_for(f"moved from {dead} to ")
        screen.wait_for(f"server {dead} is failing")
        mesh.controller.kill()
        screen.wait_for("no controller runs")
        screen.wait_for("the controller ended; the kernel goes on without it")
        screen.press(f"/{proxy}\r")
        screen.wait_for(f"1 with /{proxy}")
        screen.press("\x1b")
        screen.press("q")
        assert screen.end() == 0
    watch = [*COMMAND, "status", "--watch", *mesh.controller.arguments]
    with Terminal(watch, rows=12) as screen:
        screen.wait_for("DEGRADED: 2 of 3 servers ready")
        screen.wait_for("lines more: a higher terminal, or top")
    plain = [*COMMAND, "top", *mesh.controller.arguments, "--interval", "0.1"]
    done = subprocess.run(plain, capture_output=True, text=True, check=True, timeout=30)
    assert "\x1b" not in done.stdout
    assert f"moved from {dead} to " in done.stdout
    assert "no controller runs" in done.stdout


def test_it_leaves_the_terminal_as_it_was(mesh: Mesh) -> None:
    """By whichever key or signal it ends; another size is drawn at once."""
    command = [*COMMAND, "top", *mesh.controller.arguments]
    ends: dict[str, Callable[[Terminal], None]] = {
        "q": lambda screen: screen.press("q"),
        "Ctrl-C": lambda screen: screen.press("\x03"),
        "SIGTERM": lambda screen: screen.child.terminate(),
        "SIGHUP": lambda screen: screen.child.send_signal(signal.SIGHUP),
    }
    for name, end in ends.items():
        with Terminal(command) as screen:
            screen.wait_for("3 of 3 proxies connected")
            screen.resize(24, 60)
            screen.wait_for("q quit  s S sort")
            end(screen)
            assert screen.end() == 0, name
            assert screen.is_as_before(), name


def test_it_does_with_what_the_terminal_can(mesh: Mesh) -> None:
    """No colours if they are not wanted; on one that knows no codes, a plain frame."""
    command = [*COMMAND, "top", *mesh.controller.arguments]
    with Terminal(command, env={"NO_COLOR": "1", "TERM": "xterm"}) as screen:
        screen.wait_for("3 of 3 proxies connected")
        screen.press("q")
        assert screen.end() == 0
        assert not re.search(rb"\x1b\[(\d+;)*(3\d|4[0-8]|9\d)[;m]", screen.drawn)
    with Terminal(command, env={"TERM": "dumb"}) as screen:
        screen.wait_for("3 of 3 proxies connected")
        assert screen.end() == 0
        assert b"\x1b" not in screen.drawn
