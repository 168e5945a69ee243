"""Proxies registered at run time, through the local endpoint: kept over a restart."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.config.proxies import to_proxies
from consul_ebpf.config.schema import NO_CREDENTIALS, Credentials, ProxyEntry
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import shown
from consul_ebpf.model.values import Proxy

logger = logging.getLogger(__name__)

OWNER = "registered at run time"

REGISTERED_FILE = "registered.json"
"""In the bootstraps' directory: gone after a reboot, as the pods are."""


class RegisteredWorkloads:
    """A `WorkloadSource` of those that `put` was told of."""

    def __init__(self, directory: Path, default: Credentials = NO_CREDENTIALS) -> None:
        """Keep them in `directory`; `default` completes their own credentials."""
        self._file = JsonFile(directory / REGISTERED_FILE, list[ProxyEntry])
        self._default = default
        self._entries: dict[str, ProxyEntry] | None = None
        self._proxies: Latest[tuple[Proxy, ...]] = Latest()

    def __repr__(self) -> str:
        return f"<RegisteredWorkloads {self._file.path}>"

    def __contains__(self, proxy_id: str) -> bool:
        """Whether it is one of these."""
        return proxy_id in self._loaded()

    def put(self, entry: ProxyEntry) -> bool:
        """Register a proxy, or another entry for one; say whether it is new. Blocking.

        Raises:
            ConfigError: the entry cannot be used, or holds a secret.
        """
        for name in ("token", "bearer_token"):
            if getattr(entry.credentials, name):
                raise ConfigError(
                    f"credentials.{name}: a secret is not kept here; put it into a file"
                    f" and name that in {name}_file"
                )
        try:
            to_proxies([entry], OWNER, self._default)
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("proxies[0].")) from None
        entries = self._loaded()
        new = entry.id not in entries
        self._take({**entries, entry.id: entry})
        return new

    def remove(self, proxy_id: str) -> bool:
        """Forget a proxy; say whether there was one. Blocking."""
        entries = dict(self._loaded())
        if entries.pop(proxy_id, None) is None:
            return False
        self._take(entries)
        return True

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever."""
        await asyncio.to_thread(self._loaded)
        async for proxies in self._proxies.changes():
            yield proxies

    def _loaded(self) -> dict[str, ProxyEntry]:
        if self._entries is None:
            kept = {}
            for entry in self._file.load() or []:
                try:
                    to_proxies([entry], OWNER, self._default)
                except ConfigError as error:  # another version's, perhaps
                    logger.warning("%s: %s", self._file.path, error)
                else:
                    kept[entry.id] = entry
            self._publish(kept)
        return self._entries or {}

    def _take(self, entries: dict[str, ProxyEntry]) -> None:
        self._file.save(list(entries.values()))
        self._publish(entries)

    def _publish(self, entries: dict[str, ProxyEntry]) -> None:
        self._entries = entries
        self._proxies.set(to_proxies(list(entries.values()), OWNER, self._default))


def not_ours(proxy_id: str, owner: str) -> str:
    """Say that a proxy is somebody else's."""
    return f"proxy {shown(proxy_id)} is not registered here: it is of {owner}"
