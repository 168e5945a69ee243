"""Token files that are none, all at once: the controller serves everybody else."""

import os
from pathlib import Path

import pytest

from tests.lab.controller import ControllerProcess
from tests.lab.live import live_server
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

pytestmark = pytest.mark.kernel


def strange_files(directory: Path) -> dict[str, Path]:
    """Make eight FIFOs, and one of each other kind; return them by what is said."""
    for n in range(8):
        os.mkfifo(directory / f"fifo-{n}")
    (directory / "big").touch()
    os.truncate(directory / "big", 100 << 20)
    (directory / "utf16").write_bytes("abc".encode("utf-16"))
    (directory / "control").write_bytes(b"a\x1b[2Jb")
    (directory / "secret").write_text("an0thers")
    (directory / "link").symlink_to(directory / "secret")
    os.chown(directory / "link", 65534, 65534, follow_symlinks=False)
    return {
        **{f"fifo-{n}: is a FIFO": directory / f"fifo-{n}" for n in range(8)},
        "/dev/zero: is a device": Path("/dev/zero"),
        "big: is larger than the 65536 bytes": directory / "big",
        f"{directory}: is a directory": directory,
        "utf16: is UTF-16": directory / "utf16",
        "control: holds a control character": directory / "control",
        "link: user 65534 made the link": directory / "link",
        "none: No such file": directory / "none",
    }


def test_fault_93_strange_token_files_stop_nobody(tmp_path: Path) -> None:
    """As tokens and as bearer tokens: each is said, and the good one is served."""
    files = strange_files(tmp_path)
    (tmp_path / "good").write_text("good-token")
    kinds = (
        ("static", "token_file", {"type": "static"}),
        ("login", "bearer_token_file", {"type": "login", "auth_method": "m"}),
    )
    proxies = [
        {
            "id": f"{kind}-{n}",
            "node": "h",
            "credentials": {**credentials, key: str(path)},
        }
        for n, path in enumerate(files.values())
        for kind, key, credentials in kinds
    ]
    good = {"type": "static", "token_file": str(tmp_path / "good")}
    with (
        live_server("127.0.17.1") as server,
        scratch_cgroup() as cgroup,
        scratch_bpffs() as bpffs,
        ControllerProcess(
            {
                "consul": {
                    "source": "static",
                    "addresses": [server],
                    "tls": {"disabled": True},
                },
                "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
                "proxies": [*proxies, {"id": "good", "node": "h", "credentials": good}],
            }
        ) as controller,
    ):
        controller.bootstrap("good")
        expected = {
            f"{what} file {said if said[0] == '/' else tmp_path / said}"
            for said in files
            for what in ("token", "bearer token")
        }

        def unsaid() -> set[str]:
            log = controller.log()
            return {said for said in expected if said not in log}

        wait_until(lambda: not unsaid(), "all of them said", 20)
        (tmp_path / "fifo-0").unlink()
        (tmp_path / "fifo-0").write_text("now-a-token")
        controller.bootstrap("static-0")
        status = Path(f"/proc/{controller.child.pid}/status").read_text()
        (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        assert int(peak.split()[1]) < 120_000, peak
        for hidden in ("Traceback", "an0thers", "\x1b"):
            assert hidden not in controller.log()
        assert not list(controller.bootstraps.glob("*/token.json.*"))
