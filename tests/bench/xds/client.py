"""An xDS client where a peer's clients are: `load.py` speaks to it as to load.c.

It reads lines and answers those but the first kind with one line, in nanoseconds:

    to FAMILY ADDRESS PORT SPREAD   ask there from now on
    first N       new connections one after the other, each until its first answer; the
                  median
    small N       on a stream that stays, endpoints of a service with one; the median
                  and the 99th of 100
    large N       likewise, of a service with many; the median, and an answer's bytes

A server answers a wish for what the stream has already at once, and as a whole. The
streams that stay also keep the server from collecting anew what a first answer holds.
"""

import asyncio
import statistics
import sys
import time

import grpc

from tests.bench.xds.messages import (
    CLUSTERS,
    ENDPOINTS,
    METHOD,
    Response,
    first_request,
    next_request,
)
from tests.bench.xds.registered import LARGE, NODE, SMALL, caller_of, proxy_of

SECONDS = 10.0
"""An answer's time limit."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # no connection is shared
    ("grpc.max_receive_message_length", -1),
)


class Stream:
    """One connection with one stream: of the proxy that calls a service."""

    def __init__(self, target: str, service: str) -> None:
        self._service = service
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self._call = self._channel.stream_stream(METHOD)()
        self._nonce = ""
        self._cluster = ""

    async def begin(self) -> None:
        """Connect, and wait for the clusters."""
        caller = caller_of(self._service)
        request = first_request(proxy_of(caller), caller, NODE)
        answer = Response.FromString(await self._ask(request))
        names = [resource.name for resource in answer.resources]
        self._cluster = next(n for n in names if n.startswith(f"{self._service}."))
        await self._call.write(next_request(CLUSTERS, nonce=answer.nonce))

    async def endpoints(self) -> tuple[int, int]:
        """Return the nanoseconds until the answer had come, and its bytes."""
        request = next_request(ENDPOINTS, [self._cluster], self._nonce)
        begun = time.perf_counter_ns()
        answer = await self._ask(request)
        took = time.perf_counter_ns() - begun
        self._nonce = Response.FromString(answer).nonce
        return took, len(answer)

    async def _ask(self, request: bytes) -> bytes:
        async with asyncio.timeout(SECONDS):
            await self._call.write(request)
            answer = await self._call.read()
        if not isinstance(answer, bytes):
            raise ConnectionError(f"the stream ended: {await self._call.details()}")
        return answer

    async def close(self) -> None:
        """End both."""
        self._call.cancel()
        await self._channel.close()


async def first(target: str, times: int) -> list[float]:
    """Measure new connections, until each has its first answer."""
    took = []
    for _ in range(times):
        begun = time.perf_counter_ns()
        stream = Stream(target, SMALL)
        await stream.begin()
        took.append(time.perf_counter_ns() - begun)
        await stream.close()
    return [statistics.median(took)]


async def small(stream: Stream, times: int) -> list[float]:
    """Measure answers with one endpoint, there and back."""
    took = sorted([(await stream.endpoints())[0] for _ in range(times)])
    return [statistics.median(took), took[len(took) * 99 // 100]]


async def large(stream: Stream, times: int) -> list[float]:
    """Measure answers with many endpoints."""
    found = [await stream.endpoints() for _ in range(times)]
    return [statistics.median(ns for ns, _ in found), found[-1][1]]


async def main() -> None:
    """Do what is asked, until nobody asks."""
    target = ""
    streams: dict[str, Stream] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, *words = line.split()
        if what == "to":
            _, address, port, _ = words
            target = f"ipv4:{address}:{port}"
            streams = {service: Stream(target, service) for service in (SMALL, LARGE)}
            for stream in streams.values():
                await stream.begin()
            continue
        times = int(words[0])
        if what == "first":
            answer = await first(target, times)
        elif what == "small":
            answer = await small(streams[SMALL], times)
        else:
            answer = await large(streams[LARGE], times)
        print(*answer, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
