"""The small process that keeps the privileges the controller gives up.

Run as `python -m consul_ebpf.kernel.namespaces_child`: one JSON object a line on
standard input, one answer a line on standard output, until the input ends.

    {"cookie": "/run/netns/web-1"}                     -> {"cookie": 4711}
    {"established": true}                              -> {"established": [4712]}
    {"destroy": [[cookie, [["10.0.0.1", 8502], ...]]]} -> {"destroyed": 1}
    anything wrong                                     -> {"errno": 1, "message": "..."}

It reads nothing else, listens nowhere, and keeps only the capabilities these need.
Each request is done in a fork that ends with it, so that what it imports is given back;
what waits imports next to nothing.
"""

import ctypes
import os
import signal
import sys

from consul_ebpf.kernel import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PER_SECOND = 200.0
"""Sockets destroyed in a second: a server's proxies do not all return at once, and of
two hundred of them each has left a dead server within a second."""

_PR_SET_PDEATHSIG = 1


def do(request: "Any") -> "dict[str, Any]":
    """Do one request; the answer's keys are those of the module's table."""
    from pathlib import Path  # noqa: PLC0415

    from consul_ebpf.kernel import sockets  # noqa: PLC0415

    if "cookie" in request:
        return {"cookie": sockets.netns_cookie(Path(request["cookie"]))}
    if "established" in request:
        return {"established": sorted(sockets.established_cookies())}
    doomed = {
        cookie: frozenset((address, port) for address, port in peers)
        for cookie, peers in request["destroy"]
    }
    return {"destroyed": sockets.destroy(doomed, PER_SECOND)}


def _answer(line: bytes) -> bytes:
    import json  # noqa: PLC0415

    answer: dict[str, Any]
    try:
        answer = do(json.loads(line))
    except OSError as error:
        answer = {"errno": error.errno, "message": error.strerror or str(error)}
    except Exception as error:  # noqa: BLE001  # whoever asked is to hear of it
        answer = {"errno": 0, "message": f"{type(error).__name__}: {error}"}
    return json.dumps(answer).encode() + b"\n"


def _in_a_fork(line: bytes) -> bytes:
    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(send, _answer(line))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer or b'{"errno": 0, "message": "its fork ended without an answer"}\n'


def serve(lines: "Iterable[bytes]") -> None:
    """Answer each line."""
    for line in lines:
        sys.stdout.buffer.write(_in_a_fork(line))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    capabilities.keep_only({"net_admin", "sys_admin", "sys_ptrace"})
    serve(sys.stdin.buffer)
