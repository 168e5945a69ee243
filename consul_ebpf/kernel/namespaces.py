"""`HelperNamespaces`: reaches into other network namespaces, through the helper."""

import errno
import os
import threading
from collections.abc import Collection, Sequence
from typing import Self

from consul_ebpf.base.lines import one_line
from consul_ebpf.kernel.helper import CAPABILITIES, Helper
from consul_ebpf.kernel.requests import PER_SECOND
from consul_ebpf.model.errors import KernelError, KernelFeatureError, PrivilegeError
from consul_ebpf.model.seams import Doomed
from consul_ebpf.model.values import Server

_DENIED = (errno.EPERM, errno.EACCES)

COOKIE_SECONDS = 2.0
SOCKETS_SECONDS = 10.0
"""To look through all sockets of a host: milliseconds, and longer on a busy one."""

BATCH = 200
"""Sockets cut by one request, in a second; then it is the turn of others that cut."""


class HelperNamespaces:
    """A `Namespaces` that asks small privileged processes, started with `start`.

    So the controller, which listens to the network, can give up every capability.
    """

    def __init__(self, helper: Helper) -> None:
        """Ask this helper; `close` closes it, too."""
        self.helper = helper
        self._one_cut_at_a_time = threading.Lock()

    def __repr__(self) -> str:
        return f"<HelperNamespaces {self.helper!r}>"

    @classmethod
    def start(
        cls,
        capabilities: Collection[str] = CAPABILITIES,
        kubelet_directory: str = "",
    ) -> Self:
        """Start the helper with these of our capabilities; both end together.

        Args:
            capabilities: names.
            kubelet_directory: where volumes of pods are mounted; empty: nowhere.
        """
        return cls(Helper.start(capabilities, kubelet_directory))

    def cookie(self, path: str) -> int:
        """Return a network namespace's cookie; see `Namespaces.cookie`."""
        answer = self.helper.ask("cookie", path, seconds=COOKIE_SECONDS)
        number, what = answer.get("errno"), f"network namespace {one_line(path)}"
        if number is None:
            return int(answer["answer"])
        if number in _DENIED:
            raise PrivilegeError(
                f"{what} may not be entered: that needs CAP_SYS_ADMIN and "
                "CAP_SYS_PTRACE; grant them, or leave out netns"
            )
        if number == errno.ENOPROTOOPT:
            raise KernelFeatureError(
                f"the cookie of {what} cannot be read: that needs Linux 5.14, and "
                f"this is {os.uname().release}; leave out netns"
            )
        raise KernelError(f"{what} cannot be read: {one_line(answer['message'])}")

    def established(self) -> frozenset[int]:
        """Return all established connections' cookies; see `Namespaces.established`."""
        answer = self.helper.ask("established", seconds=SOCKETS_SECONDS)
        if "errno" in answer:
            raise KernelError(f"the sockets cannot be read: {answer['message']}")
        return frozenset(answer["answer"])

    def destroy(self, doomed: Sequence[Doomed]) -> int:
        """Destroy sockets; see `Namespaces.destroy`."""
        rows = [[each.cookie, _peers(each.server)] for each in doomed]
        return sum(
            self._destroy(rows[start : start + BATCH])
            for start in range(0, len(rows), BATCH)
        )

    def _destroy(self, rows: list[list[object]]) -> int:
        seconds = SOCKETS_SECONDS + len(rows) / PER_SECOND
        with self._one_cut_at_a_time:
            answer = self.helper.ask("destroy", rows, seconds=seconds)
        number = answer.get("errno")
        if number is None:
            return int(answer["answer"])
        what = "connections to a dead server cannot be cut"
        if number in _DENIED:
            raise PrivilegeError(f"{what}: that needs CAP_NET_ADMIN")
        if number == errno.EOPNOTSUPP:
            raise KernelFeatureError(
                f"{what}: this kernel has no CONFIG_INET_DIAG_DESTROY"
            )
        raise KernelError(f"{what}: {answer['message']}")

    def close(self) -> None:
        """End the helper."""
        self.helper.close()


def _peers(server: Server) -> list[tuple[str, int]]:
    """Return a server's endpoints as sockets have them, IPv4 also as IPv6 has it."""
    addresses = [f"{each}" for each in (server.ipv4, server.ipv6) if each]
    if server.ipv4:
        addresses.append(f"::ffff:{server.ipv4}")
    return [(address, server.port) for address in addresses]
