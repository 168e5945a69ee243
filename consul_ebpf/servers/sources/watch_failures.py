"""What `WatchSource` does after a failure: it logs the first, and pauses after each."""

import logging
import random

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.retry import growing
from consul_ebpf.model.errors import ConsulEbpfError, ConsulError, TokenPendingError

logger = logging.getLogger(__name__)

SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 60.0
"""The pause after a failure; it grows by half each time."""

TOKEN_PENDING_SECONDS = 0.2
"""The pause while the ACL token is still being fetched."""


class Failures:
    """The failures since the last list of servers that could be used."""

    def __init__(self) -> None:
        self._reasons = Reasons(logger, "source_failed")
        self._count = 0
        self.pause = 0.0
        """Seconds to sleep before the next server is asked."""
        self.doubtful = False
        """Whether it is likely that other servers know more, by the newest failure."""

    def note(self, *reasons: str) -> None:
        """Count failures. The first since the last list is logged as a warning."""
        for why in reasons:
            self._count += 1
            if self._count == 1:
                line = f"WatchServers: {why}; asking another server"
                self._reasons.report((line,))
            else:
                logger.debug("WatchServers: %s", why)
        longest = growing(self._count, SHORTEST_SECONDS, LONGEST_SECONDS, factor=1.5)
        self.pause = random.uniform(SHORTEST_SECONDS, longest)  # noqa: S311

    def note_missing_token(self, error: ConsulEbpfError) -> None:
        """Count it as a failure, unless the token is still being fetched."""
        if isinstance(error, TokenPendingError):
            self.pause = TOKEN_PENDING_SECONDS
        else:
            self.note(str(error))

    def pause_shortly(self) -> None:
        """Pause for about the shortest time, without counting a failure."""
        shortest = SHORTEST_SECONDS
        self.pause = random.uniform(shortest, 2 * shortest)  # noqa: S311

    def end(self) -> None:
        """Start over: a list came."""
        self._count = 0
        self._reasons.report(())


class DoubtfulError(ConsulError):
    """A server answers, but others are likely to know better."""
