"""How many inotify instances the kernel grants each user, and whether Envoys get by.

An Envoy takes one for each file of TLS that it watches. One that gets none ends at its
start, with no word of why.
"""

from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.model.errors import KernelError

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
