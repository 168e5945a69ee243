"""What systemd is told."""

import socket
from pathlib import Path

from consul_ebpf.cli.notify import Notifier
from tests.unit.cli.test_logs import EVIL


def test_fault_126_a_status_is_one_line(tmp_path: Path) -> None:
    """A name in it can end no message and begin no other one."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.status(f"missing: {EVIL}\nREADY=1 {'x' * 5000}")
        told = systemd.recv(65536).decode()
    assert told.startswith("STATUS=missing: x 2026")
    assert told.isprintable()
    assert len(told) < 1100
