"""The requests that the privileged helper answers.

A request is one line of JSON, `[name, arguments, seconds]`, and so is its answer:

    ["cookie", ["/run/netns/web-1"], 2]                     -> {"answer": 4711}
    ["established", [], 5]                                  -> {"answer": [4712]}
    ["destroy", [[[cookie, [["10.0.0.1", 8502], ...]]]], 9] -> {"answer": 1}
    ["fingerprint", ["/run/web-1.jwt"], 5]  -> {"answer": {"fingerprint": [1, 2, 3]}}
    ["read", ["/run/web-1.jwt", 65536], 5]  -> ... with its "data", too, in Base64
    ["mount", [uid, "consul-ebpf"], 5]      -> {"answer": true}
    ["unmount", [uid, "consul-ebpf"], 5]    -> {"answer": true}
    a request that failed                    -> {"errno": 1, "message": "..."}

The last two are for volumes of pods, below the kubelet directory that was named when
the helper was started. `REQUESTS` has a function for each, which returns what JSON can
hold. It runs in a process of its own, which ends afterwards, and in any case after
`seconds`. Only small modules are imported above, because two guards have them in memory
all the time.
"""

import binascii
import errno
import json
import os
import signal
import sys

from consul_ebpf.kernel import sockets
from consul_ebpf.kernel.sock_diag import peer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

    from consul_ebpf.base.reading import FileError

PER_SECOND = 200.0
"""Sockets destroyed in a second: so the proxies of a server do not all connect again at
once, and two hundred of them have left a dead server within a second."""

LONGEST_SECONDS = 60.0
"""How long any request may take, and how long its line may take to arrive."""

LARGEST = 4 << 20
"""Most bytes of a request."""


def _cookie(path: str) -> int:
    return sockets.netns_cookie(path)


def _established() -> list[int]:
    return sorted(sockets.established_cookies())


def _destroy(doomed: "list[tuple[int, list[tuple[str, int]]]]") -> int:
    peers = {
        cookie: frozenset(peer_of(address, port) for address, port in each)
        for cookie, each in doomed
    }
    return sockets.destroy(peers, PER_SECOND)


def _refused(error: "FileError") -> "dict[str, Any]":
    return {"why": error.why, "missing": error.missing, "denied": error.denied}


def _reading() -> "ModuleType":
    """Import the module that reads files (2 MB) in the fork, and not in the guard."""
    from consul_ebpf.base import reading  # noqa: PLC0415

    return reading


def _fingerprint(path: str) -> "dict[str, Any]":
    reading = _reading()
    try:
        return {"fingerprint": reading.fingerprint(path)}
    except reading.FileError as error:
        return _refused(error)


def _read(path: str, limit: int) -> "dict[str, Any]":
    reading = _reading()
    try:
        content = reading.read_file(path, limit)
    except reading.FileError as error:
        return _refused(error)
    data = binascii.b2a_base64(content.data, newline=False).decode()
    return {"fingerprint": content.fingerprint, "data": data}


def _volume_mounts() -> "ModuleType":
    """Import the module that mounts likewise: most hosts have no pods."""
    from consul_ebpf.kernel import volume_mounts  # noqa: PLC0415

    return volume_mounts


def _mount(uid: str, name: str) -> bool:
    return bool(_volume_mounts().mount(_kubelet_directory(), uid, name))


def _unmount(uid: str, name: str) -> bool:
    return bool(_volume_mounts().unmount(_kubelet_directory(), uid, name))


def _kubelet_directory() -> str:
    """Return the directory that the helper was started with: nobody can ask for more.

    Raises:
        PermissionError: there is none, so this helper mounts nothing.
    """
    if len(sys.argv) < len(("program", "capabilities", "directory")):
        raise PermissionError(errno.EPERM, "this helper was started without volumes")
    return sys.argv[2]


REQUESTS: "Mapping[str, Callable[..., Any]]" = {
    "cookie": _cookie,
    "established": _established,
    "destroy": _destroy,
    "fingerprint": _fingerprint,
    "read": _read,
    "mount": _mount,
    "unmount": _unmount,
}


def answer(asker: "socket") -> None:
    """Answer the one request of `asker`; the kernel ends this process if it is late."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
    said: dict[str, Any]
    try:
        name, arguments, seconds = json.loads(_line(asker))
        signal.setitimer(signal.ITIMER_REAL, min(max(seconds, 0.01), LONGEST_SECONDS))
        said = {"answer": REQUESTS[name](*arguments)}
    except OSError as error:
        said = {"errno": error.errno or 0, "message": error.strerror or str(error)}
    except Exception as error:  # noqa: BLE001  # the answer names it
        said = {"errno": 0, "message": f"{type(error).__name__}: {error}"}
    try:
        asker.sendall(json.dumps(said).encode() + b"\n")
    except OSError:  # the asker has ended, or waits no longer
        os._exit(1)


def _line(asker: "socket") -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = asker.recv(65536)
        line += part
        if not part or len(line) > LARGEST:
            raise ValueError("a request is one line of at most 4 MiB")
    return line
