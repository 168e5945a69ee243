"""`HelperNamespaces`: what reaches into other namespaces, by a process that may."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Self

import consul_ebpf
from consul_ebpf.model.errors import KernelError, KernelFeatureError, PrivilegeError
from consul_ebpf.model.seams import Doomed
from consul_ebpf.model.values import Server

_ROOT = str(Path(consul_ebpf.__file__).parent.parent)
_DENIED = (errno.EPERM, errno.EACCES)


class HelperNamespaces:
    """A `Namespaces` that asks a small privileged child, started with `start`.

    So the controller, which listens to the network, can give up every capability.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        """Take over a running child."""
        self._child = child
        self._one_at_a_time = threading.Lock()

    def __repr__(self) -> str:
        return f"<HelperNamespaces pid {self._child.pid}>"

    @classmethod
    def start(cls) -> Self:
        """Start the child with this process's privileges; both end together."""
        child = subprocess.Popen(
            # Without `site`, whose imports are a third of what it weighs.
            [sys.executable, "-S", "-m", "consul_ebpf.kernel.namespaces_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, *sys.path[1:]])},
            cwd="/",
            start_new_session=True,  # Ctrl-C is for us
        )
        return cls(child)

    def cookie(self, path: str) -> int:
        """Return a network namespace's cookie; see `Namespaces.cookie`."""
        answer = self._ask({"cookie": path})
        number, what = answer.get("errno"), f"network namespace {path}"
        if number is None:
            return int(answer["cookie"])
        if number in _DENIED:
            raise PrivilegeError(
                f"{what} may not be entered: that needs CAP_SYS_ADMIN and "
                "CAP_SYS_PTRACE; grant them, or leave out netns"
            )
        if number == errno.ENOPROTOOPT:
            raise KernelFeatureError(
                f"{what} has no cookie to be asked for: that needs Linux 5.14, and "
                f"this is {os.uname().release}; leave out netns"
            )
        raise KernelError(f"{what} cannot be told: {answer['message']}")

    def established(self) -> frozenset[int]:
        """Return all established connections' cookies; see `Namespaces.established`."""
        answer = self._ask({"established": True})
        if "errno" in answer:
            raise KernelError(f"sockets cannot be told: {answer['message']}")
        return frozenset(answer["established"])

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        """Destroy sockets; see `Namespaces.destroy`."""
        rows = [[each.cookie, _peers(each.server)] for each in doomed]
        answer = self._ask({"destroy": rows})
        number = answer.get("errno")
        if number is None:
            return int(answer["destroyed"])
        what = "connections to a dead server cannot be cut"
        if number in _DENIED:
            raise PrivilegeError(f"{what}: that needs CAP_NET_ADMIN")
        if number == errno.EOPNOTSUPP:
            raise KernelFeatureError(
                f"{what}: this kernel has no CONFIG_INET_DIAG_DESTROY"
            )
        raise KernelError(f"{what}: {answer['message']}")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._one_at_a_time:
            try:
                assert self._child.stdin is not None  # noqa: S101  # they are pipes
                assert self._child.stdout is not None  # noqa: S101
                self._child.stdin.write(json.dumps(request).encode() + b"\n")
                self._child.stdin.flush()
                answer = json.loads(self._child.stdout.readline())
            except (OSError, ValueError) as error:
                raise KernelError(
                    f"the helper for network namespaces (pid {self._child.pid}) has "
                    "ended: restart the controller"
                ) from error
        return dict(answer)

    def close(self) -> None:
        """End the child, and wait for it."""
        self._child.kill()
        self._child.communicate()


def _peers(server: Server) -> list[tuple[str, int]]:
    """Write a server's endpoints as sock_diag does, IPv4 also as an IPv6 socket's."""
    addresses: list[IPv4Address | IPv6Address] = []
    if server.ipv4:
        addresses += [server.ipv4, IPv6Address(f"::ffff:{server.ipv4}")]
    if server.ipv6:
        addresses.append(server.ipv6)
    texts = {_as_kernel(address) for address in addresses}
    return [(text, server.port) for text in sorted(texts)]


def _as_kernel(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return f"::ffff:{mapped}" if mapped else str(address)
