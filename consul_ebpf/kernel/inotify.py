"""Keeps the kernel's limit of inotify instances for each user high enough for Envoys.

An Envoy takes one instance for each TLS file that it watches. If it gets none, it ends
at its start and does not say why.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import HostProxies

logger = logging.getLogger(__name__)

SYSCTL = "fs.inotify.max_user_instances"
LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")

OTHERS = 64
"""Instances that are left for other programs of the same user."""

HIGHEST = 2**20
"""The limit is raised no further."""


@dataclass(frozen=True, slots=True)
class Room:
    """The limit, compared with what the Envoys of all proxies need, run by one user."""

    limit: int
    proxies: int
    each: int
    """Instances that one Envoy takes."""

    @property
    def needed(self) -> int:
        """The lowest limit that is enough."""
        return OTHERS + self.each * self.proxies if self.each else 0

    @property
    def enough(self) -> bool:
        """Whether all Envoys can start."""
        return self.needed <= self.limit

    @property
    def better(self) -> int:
        """The limit to set: enough for twice as many Envoys."""
        return min(OTHERS + 2 * self.each * self.proxies, HIGHEST)

    def __str__(self) -> str:
        """Say what Envoys take of the limit, and what to do if it is too low."""
        if self.enough:
            return (
                f"{SYSCTL} is {self.limit}; each Envoy takes {self.each} of its user's"
                f" (proxies: {self.proxies})"
            )
        return (
            f"{SYSCTL} is {self.limit}: the Envoys of {self.proxies} proxies take"
            f" {self.each * self.proxies} where one user runs all of them, and those"
            f" that get none end at their start; run sysctl -w {SYSCTL}={self.better},"
            " or put deploy/sysctl.d/60-consul-ebpf.conf into /etc/sysctl.d"
        )


class InotifyLimit:
    """Raises the limit when the proxies' Envoys need more, if it may.

    Args:
        each: how many instances one Envoy takes.
        path: where the limit is, below /proc/sys.
    """

    def __init__(self, each: int, path: Path = LIMIT) -> None:
        self._each = each
        self._path = path
        self._said = 0

    def __repr__(self) -> str:
        return f"<InotifyLimit {self._each} for each Envoy>"

    async def follow(self, proxies: Latest[HostProxies]) -> None:
        """Call `make_room` at each change of the proxies, until cancelled."""
        async for known in proxies.changes():
            self.make_room(len(known.proxies))

    def make_room(self, proxies: int) -> None:
        """Raise the limit for the Envoys of this many proxies, or log why it is low."""
        try:
            room = Room(read_limit(self._path), proxies, self._each)
            if room.enough:
                return
            try:
                raise_limit(room.better, self._path)
            except KernelError as error:
                self._say_once(room, str(error))
                return
        except KernelError as error:
            logger.debug("%s", error)
            return
        logger.info(
            "%s raised from %d to %d, for the Envoys of %d proxies",
            SYSCTL,
            room.limit,
            room.better,
            proxies,
        )

    def _say_once(self, room: Room, why: str) -> None:
        if room.needed > self._said:
            # The next warning comes at twice as many proxies, not at each further one.
            self._said = room.better
            logger.warning("%s; %s", room, why, extra=event("few_inotify"))


def read_limit(path: Path = LIMIT) -> int:
    """Return how many instances each user may have.

    Raises:
        KernelError: the limit cannot be read.
    """
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise KernelError(f"cannot read {SYSCTL}: {error}") from error


def raise_limit(to: int, path: Path = LIMIT) -> None:
    """Grant each user of this host `to` instances.

    Root may do this, without a capability, unless /proc/sys is read-only.

    Raises:
        KernelError: the limit cannot be written.
    """
    try:
        path.write_text(f"{to}\n", "ascii")
    except OSError as error:
        raise KernelError(f"cannot raise {SYSCTL}: {error.strerror}") from error
