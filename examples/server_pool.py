"""A ServerPool alone, in somebody's own controller.

    python examples/server_pool.py [CHANGES]

Prints the Consul servers and their states at each change, and ends after CHANGES of
them. Asks the agent at $CONSUL_HTTP_ADDR (default http://127.0.0.1:8500).
"""

import asyncio
import os
import sys
from itertools import count

from consul_ebpf import ServerPool
from consul_ebpf.servers.probe import GrpcProbe
from consul_ebpf.servers.sources.catalog import CatalogSource


async def main(changes: float) -> None:
    """Print the servers until they changed so often."""
    """Print the pool's newest value at each change."""
    address = os.environ.get("CONSUL_HTTP_ADDR", "http://127.0.0.1:8500")
    pool = ServerPool(CatalogSource([address]), GrpcProbe())
    async with pool:
        seen = count(1)
        async for servers in pool:
            print(*(f"{p.server.endpoint} {p.state.value}" for p in servers), sep=", ")
            if next(seen) >= changes:
                return


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")))
