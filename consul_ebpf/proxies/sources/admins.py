"""Gives each proxy an admin address of its own, and keeps it over restarts."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.names import named
from consul_ebpf.model.seams import Lacks, WorkloadSource
from consul_ebpf.model.values import Proxy, host_port
from consul_ebpf.proxies.admins import Address, Admin, tell_apart
from consul_ebpf.proxies.kept import Kept
from consul_ebpf.proxies.sources.precedence import of_catalog

logger = logging.getLogger(__name__)

ADMINS_FILE = "admins.json"
"""In the bootstraps' directory."""


class _Record(msgspec.Struct, frozen=True):
    """What is kept of one proxy."""

    admin: str
    netns: str = ""
    own: bool = False


class AdminMemory:
    """`admins.json`: which admin address is whose, by proxy key. Blocking."""

    def __init__(self, directory: Path, *, writes: bool) -> None:
        """Keep the file in the bootstraps' directory."""
        of = dict[str, _Record]
        self._kept = Kept[dict[str, _Record]](
            directory / ADMINS_FILE, of, writes=writes
        )

    def __repr__(self) -> str:
        return f"<AdminMemory {self._kept!r}>"

    def load(self) -> dict[str, Admin]:
        """Return the remembered addresses, without those that cannot be read."""
        found = {}
        for key, record in (self._kept.load() or {}).items():
            try:
                at = parse_endpoint(record.admin)
            except ValueError:
                continue
            found[key] = Admin(at, record.netns, own=record.own)
        return found

    def save(self, remembered: Mapping[str, Admin]) -> None:
        """Write them; a standing failure is logged once."""
        self._kept.save(
            {
                key: _Record(host_port(*admin.address), admin.netns, admin.own)
                for key, admin in remembered.items()
            }
        )


class AdminWorkloads:
    """A `WorkloadSource` of another source's proxies, each with an admin address.

    It has the seam `Lacks` if the other source has.
    """

    def __init__(
        self,
        source: WorkloadSource,
        memory: AdminMemory,
        default: Address,
        settings: Mapping[str, Address],
    ) -> None:
        """Take the proxies of `source`; the rest is as for `tell_apart`."""
        self._source = source
        self._memory = memory
        self._default = default
        self._settings = settings

    def __repr__(self) -> str:
        return f"<AdminWorkloads {self._source!r}>"

    @property
    def lacking(self) -> tuple[str, ...]:
        """One line for each thing that the other source cannot tell now."""
        return self._source.lacking if isinstance(self._source, Lacks) else ()

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever."""
        problems = Reasons(logger, "proxy_refused")
        remembered: Mapping[str, Admin] = await asyncio.to_thread(self._memory.load)
        source = cast("Any", self._source.watch())
        async with aclosing(source):
            async for named_now in source:
                proxies, held = _without_the_bereft(
                    named_now, remembered if self.lacking else {}
                )
                told = await asyncio.to_thread(
                    partial(
                        tell_apart,
                        proxies,
                        remembered,
                        self._default,
                        settings=self._settings,
                        is_busy=is_busy,
                        keep=bool(self.lacking),
                    )
                )
                await asyncio.to_thread(self._memory.save, told.remembered)
                remembered = told.remembered
                conflicts = [
                    f"{named(proxy)}: {proxy.conflict}"
                    for proxy in told.proxies
                    if proxy.conflict
                ]
                problems.report([*conflicts, *held])
                yield told.proxies


def _without_the_bereft(
    proxies: tuple[Proxy, ...], remembered: Mapping[str, Admin]
) -> tuple[tuple[Proxy, ...], list[str]]:
    """Leave out proxies that lost their place or credentials.

    Now only the catalog names them, and the source that gave them those cannot be read.
    Until it can, they must not be unbound or get the host's token.
    """
    bereft = {
        proxy
        for proxy in proxies
        if of_catalog(proxy.owner)
        and proxy.key in remembered
        and remembered[proxy.key].own
    }
    why = "waits: it had a place or credentials of its own, and who gave them to it"
    lines = [f"{named(proxy)}: {why} cannot be read now" for proxy in bereft]
    return tuple(proxy for proxy in proxies if proxy not in bereft), lines


def is_busy(address: Address) -> bool:
    """Whether somebody on this host listens at an address."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(address)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
        return False
