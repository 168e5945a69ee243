"""The host's limit of inotify instances, kept above what the proxies' Envoys take."""

import logging
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.cli.findings import Finding
from consul_ebpf.config.schema import Config
from consul_ebpf.kernel.inotify import LIMIT, SYSCTL, Room, raise_limit, read_limit
from consul_ebpf.model.errors import KernelError

logger = logging.getLogger(__name__)


class InotifyLimit:
    """Compares the limit with the number of proxies, and raises it while it may.

    Args:
        config: says which files an Envoy watches.
        path: the limit's, below /proc/sys.
    """

    def __init__(self, config: Config, path: Path = LIMIT) -> None:
        self._each = instances(config)
        self._path = path
        self._said = 0

    def __repr__(self) -> str:
        return f"<InotifyLimit {self._each} for each Envoy>"

    def make_room(self, proxies: int) -> None:
        """See to it that this many Envoys of one user can start, or say that not."""
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
            logger.warning("%s; %s", advice(room), why, extra=event("few_inotify"))


def instances(config: Config) -> int:
    """Return how many inotify instances one Envoy takes."""
    tls = config.consul.tls
    if tls.disabled:
        return 0
    verified = bool(tls.ca_certs) and not tls.insecure_skip_verify
    return verified + bool(tls.cert)


def advice(room: Room) -> str:
    """Say that the limit is too low, and what to do."""
    return (
        f"{SYSCTL} is {room.limit}: the Envoys of {room.proxies} proxies take"
        f" {room.each * room.proxies} where one user runs all of them, and those that"
        f" get none end at their start; run sysctl -w {SYSCTL}={room.better}, or put"
        " deploy/sysctl.d/60-consul-ebpf.conf into /etc/sysctl.d"
    )


def in_words(room: Room) -> str:
    """Say how the limit compares with the proxies."""
    if not room.enough:
        return advice(room)
    return (
        f"{SYSCTL} is {room.limit}; each Envoy takes {room.each} of its user's"
        f" (proxies: {room.proxies})"
    )


def find_limit(config: Config, served: int) -> Finding:
    """Compare the limit with the proxies that are configured, or `served` now."""
    proxies = max(len(config.proxies), served)
    try:
        room = Room(read_limit(), proxies, instances(config))
    except KernelError as error:
        return Finding("inotify", str(error), warn=True)
    return Finding("inotify", in_words(room), warn=not room.enough)
