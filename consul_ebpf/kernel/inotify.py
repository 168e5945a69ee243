"""How many inotify instances the kernel grants each user, and whether Envoys get by.

An Envoy takes one for each file of TLS that it watches. One that gets none ends at its
start, with no word of why.
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


@dataclass(frozen=True, slots=True)
class Room:
    """The limit, and what `proxies` Envoys of one user take of it, `each` of them."""

    limit: int
    proxies: int
    each: int

    @property
    def needed(self) -> int:
        """How high the limit must be at least."""
        return OTHERS + self.each * self.proxies if self.each else 0

    @property
    def enough(self) -> bool:
        """Whether all of them can start."""
        return self.needed <= self.limit

    @property
    def better(self) -> int:
        """A limit under which twice as many can."""
        return min(OTHERS + 2 * self.each * self.proxies, HIGHEST)

    def __str__(self) -> str:
        """Compare the limit with the proxies; say what to do if it is too low."""
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
    """Keeps the limit above what the proxies' Envoys take, as far as it may.

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
        """Make room for the proxies there are, until cancelled."""
        async for known in proxies.changes():
            self.make_room(len(known.proxies))

    def make_room(self, proxies: int) -> None:
        """Let the Envoys of this many proxies start, or log why they may not."""
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
            # Not again for each further proxy: for twice as many.
            self._said = room.better
            logger.warning("%s; %s", room, why, extra=event("few_inotify"))


def read_limit(path: Path = LIMIT) -> int:
    """Return how many instances each user may have.

    Raises:
        KernelError: this kernel does not say.
    """
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise KernelError(f"cannot read {SYSCTL}: {error}") from error


def raise_limit(to: int, path: Path = LIMIT) -> None:
    """Grant each user of this host more instances.

    Root may, without a capability, unless /proc/sys is read-only.

    Raises:
        KernelError: it may not be written.
    """
    try:
        path.write_text(f"{to}\n", "ascii")
    except OSError as error:
        raise KernelError(f"cannot raise {SYSCTL}: {error.strerror}") from error
