"""Ask Consul servers so many times a second: run as a process of its own.

`python -m tests.bench.fleet.asking CALL CONNECTIONS CALLS_A_SECOND ADDRESS...` prints a
line once every connection has had its first answer, and then goes on until it is ended.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from consul_ebpf.client.channels import Channel, insecure_channel
from consul_ebpf.client.dataplane import METHOD
from consul_ebpf.client.leader import ask_for_leader
from consul_ebpf.client.messages import BootstrapParamsRequest
from consul_ebpf.client.rpc import ask
from tests.lab.consul import GRPC_PORT

SECONDS = 10.0
"""An answer's time limit."""

Ask = Callable[[Channel], Awaitable[object]]


def bootstrap_params(node: str, proxy: str) -> Ask:
    """Ask for a proxy's bootstrap parameters."""
    request = BootstrapParamsRequest(
        node_name=node, proxy_id=proxy, service_id=proxy
    ).SerializeToString()
    return partial(_ask, f"/hashicorp.consul.{METHOD}", request)


async def _ask(method: str, request: bytes, channel: Channel) -> object:
    return await ask(channel, method, request, len, who="server", seconds=SECONDS)


async def _ask_for_leader(channel: Channel) -> object:
    return await ask_for_leader(channel, "server", SECONDS)


CALLS: dict[str, Ask] = {
    "leader": _ask_for_leader,
    "params": bootstrap_params("host-0", "web-0-0-sidecar-proxy"),
}


async def main(what: Ask, connections: int, rate: float, targets: list[str]) -> None:
    """Ask for ever."""
    channels = [
        insecure_channel(f"ipv4:{targets[n % len(targets)]}:{GRPC_PORT}")
        for n in range(connections)
    ]
    for channel in channels:
        await what(channel)
    print("asking", flush=True)
    pause = connections / rate

    async def go_on(channel: Channel) -> None:
        await asyncio.sleep(random.uniform(0, pause))
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await what(channel)
            due += pause
            await asyncio.sleep(due - loop.time())

    await asyncio.gather(*(go_on(channel) for channel in channels))


if __name__ == "__main__":
    name, connections, rate, *targets = sys.argv[1:]
    asyncio.run(main(CALLS[name], int(connections), float(rate), targets))
