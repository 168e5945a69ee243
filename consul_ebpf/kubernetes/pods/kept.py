"""The volumes of this node, in memory and on disk, so that a restart keeps them."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from consul_ebpf.base.boundary import boundary, reason
from consul_ebpf.base.events import event
from consul_ebpf.base.latest import Latest
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.base.threads import finish
from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import VOLUMES_FILE, PodVolume

logger = logging.getLogger(__name__)

RECOVERY_SECONDS = 180.0
"""Kubelet names each running pod's volumes again in that time, even if it does so only
at every other of its usual 60 to 90 seconds."""


TOGETHER_SECONDS = 0.05
"""How long a change waits for others: each time all proxies are looked through."""


class Kept(msgspec.Struct, frozen=True):
    """A volume, and what is known of it."""

    volume: Volume
    cgroup: str
    """The directory of its pod's cgroup."""
    published: bool = False
    """Whether kubelet was told that it is ready: from then on its pod may run."""
    registration: Registration | None = None
    """What Consul had for it last."""


Volumes = Mapping[str, Kept]
"""By volume id."""

Change = Callable[[Kept | None], Kept | None]
"""Makes of what is kept of a volume what to keep from now on; None: nothing."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """Changes to make; `made` gets their end."""

    changes: Mapping[str, Change]
    made: asyncio.Future[None]
    durable: bool
    """Whether they are not made if they cannot be written."""


class KeptVolumes:
    """Keeps volumes; `cell` has all of them once they are read from the file.

    One writer makes all changes, and writes those that wait together.
    """

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' `directory`."""
        self._file = JsonFile(directory / VOLUMES_FILE, list[Any])
        self.cell: Latest[Volumes] = Latest()
        self._loading = asyncio.Lock()
        self._whole_at = 0.0
        """When all volumes are known, in event loop time."""
        self._pending: list[_Pending] = []
        self._writer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<KeptVolumes {self._file.path}>"

    @property
    def volumes(self) -> Volumes:
        """All volumes; none before `load`."""
        return self.cell.value or {}

    @property
    def lacking(self) -> tuple[str, ...]:
        """Why there may be other volumes than these; empty: these are all."""
        if self.cell.value is None:
            return (f"{self._file.path} has not been read yet",)
        if asyncio.get_running_loop().time() < self._whole_at:
            return (f"{self._file.path} was damaged: kubelet names the volumes again",)
        return ()

    async def load(self) -> Volumes:
        """Read the file, the first time; return the volumes."""
        async with self._loading:
            if self.cell.value is None:
                volumes, whole = await finish(self._read)
                if not whole:
                    now = asyncio.get_running_loop().time()
                    self._whole_at = now + RECOVERY_SECONDS
                self.cell.set(volumes)
        return self.volumes

    async def keep(self, kept: Kept) -> None:
        """Keep a volume, or what it is now; return when that is on disk and in `cell`.

        Raises:
            ConsulEbpfError: it cannot be written, and is not kept.
        """
        await self._enqueue({kept.volume.id: lambda _: kept}, durable=True)

    async def remove(self, id_: str) -> None:
        """Remove a volume; return when it is not in `cell`, nor on disk if possible.

        If the file cannot be written, a restart will find that the pod is gone.
        """
        await self._enqueue({id_: lambda _: None})

    def change_soon(self, changes: Mapping[str, Change]) -> None:
        """Make changes, by volume id, that a restart may forget."""
        self._enqueue(changes)

    def _enqueue(
        self, changes: Mapping[str, Change], *, durable: bool = False
    ) -> asyncio.Future[None]:
        made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(changes, made, durable=durable))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="volumes")
        return made

    async def _write(self) -> None:
        """Make all pending changes at once, and again until none is pending."""
        await self.load()
        while self._pending:
            await asyncio.sleep(TOGETHER_SECONDS)
            batch, self._pending = self._pending, []
            volumes, error = _changed(self.volumes, batch), None
            try:
                await self._save(volumes)
            except ConsulEbpfError as failure:
                error = failure
                lasting = [each for each in batch if not each.durable]
                volumes = _changed(self.volumes, lasting)
            self.cell.set(volumes)
            for each in batch:
                if each.made.done():  # whoever asked for it was cancelled
                    continue
                if error is not None and each.durable:
                    each.made.set_exception(error)
                else:
                    each.made.set_result(None)

    async def _save(self, volumes: Volumes) -> None:
        with boundary(ConsulEbpfError, str(self._file.path)):
            data = msgspec.to_builtins(list(volumes.values()))
            saved = await finish(partial(self._file.save, data))
        if not saved:
            raise ConsulEbpfError(
                f"{self._file.path} cannot be written; the log says why"
            )

    def _read(self) -> tuple[Volumes, bool]:
        """Return the volumes, and whether none was lost."""
        there = self._file.path.exists()
        entries = self._file.load()
        whole = entries is not None or not there
        volumes = {}
        for entry in entries or ():
            try:
                kept = msgspec.convert(entry, Kept)
            except (msgspec.ValidationError, RecursionError) as error:
                logger.warning(
                    "%s: a volume is ignored: %s",
                    self._file.path,
                    reason(error),
                    extra=event("state_ignored"),
                )
                whole = False
            else:
                volumes[kept.volume.id] = kept
        return volumes, whole


def _changed(volumes: Volumes, batch: Iterable[_Pending]) -> Volumes:
    """Return the volumes after these changes."""
    now = dict(volumes)
    for each in batch:
        for id_, change in each.changes.items():
            if (kept := change(now.get(id_))) is not None:
                now[id_] = kept
            else:
                now.pop(id_, None)
    return now


def read_volumes(directory: Path) -> tuple[PodVolume, ...]:
    """Return the volumes for those who only look; none if the file is damaged."""
    try:
        entries = JsonFile(directory / VOLUMES_FILE, list[Kept]).read() or []
    except (ValueError, RecursionError):
        return ()
    return tuple(
        PodVolume(
            each.volume.key,
            f"{each.volume.namespace}/{each.volume.pod}",
            each.volume.uid,
            each.published,
        )
        for each in entries
    )
