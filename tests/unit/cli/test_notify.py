"""What systemd is told."""

import asyncio
import socket
from pathlib import Path

from consul_ebpf.base.latest import Latest
from consul_ebpf.cli.notify import Notifier
from consul_ebpf.controller.outcomes import Converged
from tests.unit.cli.test_logs import EVIL


async def told(directory: Path, *values: Converged | int, **env: str) -> list[str]:
    """Return what systemd hears of these outcomes and signs of life, and of the end."""
    path = str(directory / "notify")
    outcome: Latest[Converged] = Latest()
    alive: Latest[int] = Latest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": path, **env}, outcome, alive)
        task = asyncio.create_task(notifier.run())
        for value in values:
            if isinstance(value, Converged):
                outcome.set(value)
            else:
                alive.set(value)
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        heard = []
        while True:
            try:
                heard.append(systemd.recv(65536).decode())
            except BlockingIOError:
                return heard


async def test_fault_126_a_status_is_one_line(tmp_path: Path) -> None:
    """A name in it can end no message and begin no other one."""
    evil = Converged(3, 2, 1, missing=(f"{EVIL}\nREADY=1 {'x' * 5000}",))
    ready, status, end = await told(tmp_path, evil)
    assert ("READY=1", "STOPPING=1") == (ready, end)
    assert status.startswith("STATUS=3 servers ready, 2 proxies, 1 refused; missing: x")
    assert status.isprintable()
    assert len(status) < 1100


async def test_ready_is_told_once_and_each_sign_of_life_is_a_ping(
    tmp_path: Path,
) -> None:
    """Pings only where systemd watches this very process."""
    values = (1, Converged(0, 0, 0), 2, Converged(3, 2, 0))
    served = ["READY=1", *(f"STATUS={n}" for n in (0, 3)), "STOPPING=1"]
    for env, pings in (
        ({}, 0),
        ({"WATCHDOG_USEC": "9"}, 2),
        ({"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}, 0),
    ):
        (tmp_path / "notify").unlink(missing_ok=True)
        heard = await told(tmp_path, *values, **env)
        assert pings == heard.count("WATCHDOG=1")
        others = [each.partition(" ")[0] for each in heard if "WATCHDOG" not in each]
        assert served == others


async def test_before_the_first_outcome_nobody_is_ready(tmp_path: Path) -> None:
    """Nothing but the end is told."""
    assert ["STOPPING=1"] == await told(tmp_path, 1, 2)
