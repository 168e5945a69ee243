"""Proxies registered at the local endpoint. They are kept over a restart."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.base.threads import finish
from consul_ebpf.config.decoding import convert
from consul_ebpf.config.proxies import to_proxies
from consul_ebpf.config.schema import NO_CREDENTIALS, Credentials, ProxyEntry
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.model.names import shown
from consul_ebpf.model.values import Proxy

logger = logging.getLogger(__name__)

OWNER = "registered at run time"

REGISTERED_FILE = "registered.json"
"""In the bootstraps' directory: gone after a reboot, as the pods are."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A proxy's entry in the file, and the proxy made of it or why it cannot be used.

    An entry that cannot be used stays in the file: another version may understand it.
    """

    data: Mapping[str, Any]
    proxy: Proxy | None = None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class _Change:
    """An entry to put, or None to remove it. `had` gets whether there was one."""

    id: str
    entry: _Entry | None
    had: asyncio.Future[bool]


class RegisteredWorkloads:
    """A `WorkloadSource` of the proxies given to `put`; it has the seam `Lacks`.

    One writer makes all changes, and writes those that wait together. `put` and
    `remove` return when the change is on disk and in the list.
    """

    def __init__(self, directory: Path, default: Credentials = NO_CREDENTIALS) -> None:
        """Keep the file in `directory`; `default` completes proxies' credentials."""
        self._file = JsonFile(directory / REGISTERED_FILE, list[Any])
        self._default = default
        self._entries: dict[str, _Entry] | None = None
        self._told: Latest[tuple[tuple[Proxy, ...], tuple[str, ...]]] = Latest()
        self._loading = asyncio.Lock()
        self._pending: list[_Change] = []
        self._writer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<RegisteredWorkloads {self._file.path}>"

    @property
    def lacking(self) -> tuple[str, ...]:
        """One line for each entry of the file that cannot be used."""
        if self._entries is None:
            return (f"{self._file.path} has not been read yet",)
        wrong = [entry.wrong for entry in self._entries.values() if entry.wrong]
        aside = self._file.aside
        if aside.exists():
            wrong.append(
                f"{self._file.path} was damaged and is now {aside.name}: register its"
                " proxies again, then remove that file"
            )
        return tuple(wrong)

    async def owns(self, proxy_id: str) -> bool:
        """Whether a proxy is one of these."""
        return proxy_id in await self._loaded()

    async def put(self, entry: ProxyEntry) -> bool:
        """Register a proxy, or replace its entry; return whether it is new.

        Raises:
            ConfigError: the entry cannot be used, or holds a secret.
            ConsulEbpfError: it cannot be written; the proxy is not registered.
        """
        for name in ("token", "bearer_token"):
            if getattr(entry.credentials, name):
                raise ConfigError(
                    f"credentials.{name}: a secret is not kept here; put it into a file"
                    f" and name that in {name}_file"
                )
        made = _Entry(msgspec.to_builtins(entry), self._proxy(entry))
        return not await self._change(entry.id, made)

    async def remove(self, proxy_id: str) -> bool:
        """Remove a proxy; return whether there was one.

        Raises:
            ConsulEbpfError: it cannot be written; the proxy stays registered.
        """
        return await self._change(proxy_id, None)

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever.

        A change of `lacking` counts as a change.
        """
        await self._loaded()
        async for proxies, _ in self._told.changes():
            yield proxies

    async def _change(self, proxy_id: str, entry: _Entry | None) -> bool:
        await self._loaded()
        change = _Change(proxy_id, entry, asyncio.get_running_loop().create_future())
        self._pending.append(change)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="registered proxies")
        return await change.had

    async def _write(self) -> None:
        """Write all pending changes at once, and again until none is pending."""
        while self._pending:
            batch, self._pending = self._pending, []
            entries = dict(self._entries or {})
            had = []
            for change in batch:
                had.append(change.id in entries)
                if change.entry is None:
                    entries.pop(change.id, None)
                else:
                    entries[change.id] = change.entry
            try:
                await self._save(entries)
            except BaseException as error:
                for change in batch:
                    _fail(change.had, error)
                if not isinstance(error, ConsulEbpfError):
                    raise
            else:
                self._publish(entries)
                for change, there in zip(batch, had, strict=True):
                    if not change.had.done():
                        change.had.set_result(there)

    async def _save(self, entries: Mapping[str, _Entry]) -> None:
        data = [entry.data for entry in entries.values()]
        with boundary(ConsulEbpfError, str(self._file.path)):
            saved = await finish(partial(self._file.save, data))
        if not saved:
            raise ConsulEbpfError(
                f"{self._file.path} cannot be written: nothing was changed; the log"
                " says why"
            )

    async def _loaded(self) -> Mapping[str, _Entry]:
        async with self._loading:
            if self._entries is None:
                self._publish(await finish(self._read))
        return self._entries or {}

    def _read(self) -> dict[str, _Entry]:
        entries = {}
        for data in self._file.load() or []:
            if not isinstance(data, dict) or not isinstance(data.get("id"), str):
                continue
            entry = self._entry(data)
            if entry.wrong:
                logger.warning("%s", entry.wrong, extra=event("state_ignored"))
            entries[data["id"]] = entry
        return entries

    def _entry(self, data: dict[str, Any]) -> _Entry:
        where = f"{self._file.path}: proxy {shown(data['id'])}"
        try:
            with boundary(ConfigError, "it cannot be used"):
                proxy = self._proxy(convert(data, ProxyEntry, "its entry"))
        except ConfigError as error:
            wrong = f"{where}: {error}; register it again or delete it"
            return _Entry(data, wrong=wrong)
        return _Entry(data, proxy)

    def _proxy(self, entry: ProxyEntry) -> Proxy:
        try:
            (proxy,) = to_proxies([entry], OWNER, self._default)
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("proxies[0].")) from None
        return proxy

    def _publish(self, entries: dict[str, _Entry]) -> None:
        self._entries = entries
        proxies = (each.proxy for each in entries.values())
        self._told.set((tuple(p for p in proxies if p is not None), self.lacking))


def _fail(had: asyncio.Future[bool], error: BaseException) -> None:
    if had.done():
        return
    if isinstance(error, asyncio.CancelledError):
        had.cancel()
    else:
        had.set_exception(error)


def not_ours(proxy_id: str, owner: str) -> str:
    """Say that a proxy was configured elsewhere."""
    return f"proxy {shown(proxy_id)} is not registered here: it is of {owner}"
