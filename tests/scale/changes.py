"""What changes on a host of tests/scale, and what each change cost."""

import time
from collections.abc import Awaitable, Callable

import msgspec

from consul_ebpf.controller.outcomes import Served
from consul_ebpf.model.values import Proxy
from tests.scale.host import Host

QUIET_SECONDS = 0.3
"""After which nothing more is written for a change."""


class Change(msgspec.Struct):
    """What one change cost: ms until the last write for it, and how much was done."""

    ms: list[float]
    rows: int
    bootstraps: int
    files: int


class Changes:
    """Has things change on a host, one after the other."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.found: dict[str, Change] = {}

    async def server_dies(self, name: str, probe_dns: bool = False) -> None:
        """Let a server, or its DNS, die and be back: from its pool's verdicts."""
        host, (server, *_) = self._host, self._host.servers
        probe = host.dns_probe if probe_dns else host.probe
        for what, turn, fewer in (
            (f"{name} dies", probe.kill, not probe_dns),
            (f"{name} is back", probe.revive, False),
        ):
            before = host.verdicts.last
            host.done.clear()
            turn(server.id)
            await host.until(lambda: host.verdicts.last > before)  # noqa: B023
            begun = host.verdicts.last
            await host.until(lambda: self._is_served(fewer=fewer))  # noqa: B023
            await self._note(what, begun)

    async def server_dies_meanwhile(self) -> None:
        """Let a server die while the files of all are written."""
        host, server = self._host, self._host.servers[0]
        host.done.clear()
        host.ca = f"a CA, {time.monotonic_ns()}"
        await host.until(lambda: host.done.files > len(host.proxies) // 3)
        before = host.verdicts.last
        host.probe.kill(server.id)
        await host.until(lambda: host.verdicts.last > before and host.done.rows > 0)
        ms = 1000 * (host.done.first_row - host.verdicts.last)
        self.found["a server dies meanwhile"] = Change([ms], host.done.rows, 0, 0)
        host.probe.revive(server.id)
        await host.until(lambda: host.done.files >= len(host.proxies))
        await host.until(self._is_served)

    async def server_drains(self) -> None:
        """Have Consul name a server no longer, and again."""
        done, begun = self._host.done, time.perf_counter()
        await self._set(
            "its rows follow",
            lambda host: host.source.set(host.servers[1:]),
            lambda: self._is_served(fewer=True),
        )
        before = self.found.get("a server drains")
        ms = 1000 * (done.first_row - begun)
        self.found["a server drains"] = Change(
            [*(before.ms if before else []), ms], 1, 0, 0
        )
        await self._set(
            "it is listed again",
            lambda host: host.source.set(host.servers),
            self._is_served,
        )

    def _is_served(self, *, fewer: bool = False) -> bool:
        """Whether a round has taken up that all servers, or all but one, are ready."""
        host = self._host
        return host.serves(len(host.servers) - fewer, len(host.proxies))

    async def proxy_comes(self) -> None:
        """Have one more proxy, and then one less."""
        host = self._host
        more = [*host.proxies, Proxy("one-more", "host1")]
        servers = len(host.servers)
        for what, named in (("one more proxy", more), ("a proxy leaves", host.proxies)):
            await self._set(
                what,
                lambda host: host.workloads.set(named),  # noqa: B023
                lambda: host.serves(servers, len(named)),  # noqa: B023
            )

    async def token_rotates(self) -> None:
        """Replace the token of all; from when it was read."""
        host, secret = self._host, f"token-{time.monotonic_ns()}"

        def written() -> bool:
            done = host.cells.outcome.value
            outcomes = done.outcomes.values() if done else ()
            return all(isinstance(o, Served) and o.token == secret for o in outcomes)

        await self._noticed(
            "a token for all rotates",
            host.keeper.tokens.changed_since,
            host.keeper.tokens.version,
            lambda: host.write_token(secret),
            written,
        )

    async def ca_changes(self) -> None:
        """Replace the CA that all trust; from when it was read."""
        host = self._host

        def replace() -> None:
            host.ca = f"a CA, {time.monotonic_ns()}"

        await self._noticed(
            "a CA file changes",
            host.cells.tls.changed_since,
            host.cells.tls.version,
            replace,
            lambda: host.done.files >= len(host.proxies),
        )

    async def _set(
        self,
        what: str,
        change: Callable[[Host], None],
        holds: Callable[[], bool],
    ) -> None:
        self._host.done.clear()
        begun = time.perf_counter()
        change(self._host)
        await self._host.until(holds)
        await self._note(what, begun)

    async def _noticed(
        self,
        what: str,
        changed_since: Callable[[int, float | None], Awaitable[bool]],
        version: int,
        change: Callable[[], None],
        holds: Callable[[], bool],
    ) -> None:
        change()
        self._host.done.clear()
        await changed_since(version, None)
        begun = time.perf_counter()
        await self._host.until(holds)
        await self._note(what, begun)

    async def _note(self, what: str, begun: float) -> None:
        """Wait for the last write, and keep what was done."""
        done = self._host.done
        await self._host.until(
            lambda: 0 < done.last < time.perf_counter() - QUIET_SECONDS
        )
        ms = 1000 * (done.last - begun)
        before = self.found.get(what)
        self.found[what] = Change(
            [*(before.ms if before else []), ms], done.rows, done.renders, done.files
        )
