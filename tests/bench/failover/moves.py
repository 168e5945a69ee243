"""Which proxies moved to another server, and how long that took. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tests.bench.failover.flows import Stream

STEADY_SECONDS = 0.3
"""A stream must last so long to count: a full server ends one within milliseconds."""


@dataclass(frozen=True)
class End:
    """What happened to a server, and when by the clock."""

    server: str
    at: float


@dataclass(frozen=True)
class Move:
    """A proxy that lost its server.

    Attributes:
        proxy: its id.
        reached: seconds until a server had taken its new stream; None: never.
        answered: seconds until a server had sent configuration on that; None: never.
        tries: streams begun until then, this one among them.
        told: seconds until the old connection or stream was ended, by whomever.
        answered_before: the server that it lost had sent it configuration. If not, it
            has lost another one just before, and Envoy still counts failures.
    """

    proxy: str
    reached: float | None
    answered: float | None
    tries: int
    told: float | None
    answered_before: bool = True


class History:
    """All streams of a run, by proxy."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._streams: dict[str, list[Stream]] = defaultdict(list)
        for stream in list(streams):  # others may still be added meanwhile
            self._streams[stream.proxy].append(stream)

    def on(self, server: str, at: float, proxies: Collection[str]) -> list[Stream]:
        """Return these proxies' streams that a server had at a time."""
        held = (self._held(proxy, at) for proxy in proxies)
        return [stream for stream in held if stream and stream.server == server]

    def _held(self, proxy: str, at: float) -> Stream | None:
        for stream in reversed(self._streams.get(proxy, ())):
            if stream.taken and stream.taken <= at:
                return None if stream.ended and stream.ended <= at else stream
        return None

    def moved(self, end: End, proxies: Collection[str]) -> list[Move]:
        """Return what became of the proxies on a server that something happened to."""
        return [self._move(old, end.at) for old in self.on(end.server, end.at, proxies)]

    def turned_away(
        self, proxies: Collection[str], since: float, until: float
    ) -> list[Move]:
        """Return the moves of those whose server ended a stream that had lasted."""
        return [
            self._move(stream, stream.ended)
            for proxy in proxies
            for stream in self._streams.get(proxy, ())
            if stream.turned_away
            and stream.ended
            and since < stream.ended < until
            and _lasted(stream)
        ]

    def _move(self, old: Stream, at: float) -> Move:
        tries = 0
        told = old.ended - at if old.ended else None
        before = old.answered is not None and old.answered <= at
        for stream in self._streams[old.proxy]:
            if stream.asked <= at:
                continue
            tries += 1
            if stream.taken and _lasted(stream):
                answered = stream.answered - at if stream.answered else None
                reached = stream.taken - at
                return Move(old.proxy, reached, answered, tries, told, before)
        return Move(old.proxy, None, None, tries, told, before)


def _lasted(stream: Stream) -> bool:
    if stream.taken is None:
        return False
    return stream.ended is None or stream.ended - stream.taken >= STEADY_SECONDS
