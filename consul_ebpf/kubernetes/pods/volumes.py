"""`PodVolumes`: publishes and unpublishes volumes, as kubelet asks for it.

A publish comes before its pod has an address, and Consul has no registration of a pod
without one. So a publish waits for the kernel's tables alone. The rest follows.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import msgspec

from consul_ebpf.base.latest import Latest
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.cells import Cells
from consul_ebpf.kubernetes.attributes import InvalidAttributeError
from consul_ebpf.kubernetes.pods.claims import Claims
from consul_ebpf.kubernetes.pods.kept import Kept, KeptVolumes, Volumes
from consul_ebpf.kubernetes.pods.places import VolumePlaces
from consul_ebpf.kubernetes.pods.programmed import Programmed
from consul_ebpf.kubernetes.pods.proxy import Node, check, wants_login
from consul_ebpf.kubernetes.pods.volume import (
    Publish,
    PublishError,
    Volume,
    check_target,
    token_of,
    volume_of,
)
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

T = TypeVar("T")

REMOVAL_SECONDS = 5.0
"""How long an unpublish waits until a proxy's VIP and files are gone."""

AT_ONCE = 3
"""Threads for mounts and files. A mount takes a process of the helper's."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of volumes."""

    kubelet_directory: str = "/var/lib/kubelet"
    driver: str = "csi.consul-ebpf.io"
    wait: float = 8.0
    """Seconds that a publish waits until the kernel has the VIP."""


class PodVolumes:
    """Makes volumes for kubelet; `VolumeWorkloads` has their proxies.

    Args:
        kept: the volumes that are known.
        places: what is on this host of each.
        node: this node.
        cells: what the rounds did.
        settings: of the configuration.
    """

    def __init__(
        self,
        kept: KeptVolumes,
        *,
        places: VolumePlaces,
        node: Node,
        cells: Cells,
        settings: Settings,
    ) -> None:
        self._kept = kept
        self._places = places
        self._node = node
        self._programmed = Programmed(cells)
        self._settings = settings
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._claims = Claims()
        self._ready: set[str] = set()
        """Ids of volumes that kubelet was told are ready; the file may say so later."""
        self._named: dict[str, int] = {}
        """Which round came before each volume was known, by id."""
        self._seen: dict[str, float] = {}
        """When kubelet named each volume last, in event loop time."""
        self._working = asyncio.Semaphore(AT_ONCE)
        self._loading = asyncio.Lock()
        self._loaded = False
        self._wrong: dict[str, str] = {}
        """Why volumes could not be refreshed last, by id."""
        self._reasons = Reasons(logger, "volume_failed")

    def __repr__(self) -> str:
        return f"<PodVolumes {len(self._kept.volumes)} volumes>"

    @property
    def volumes(self) -> Latest[Volumes]:
        """All volumes of this node, by id."""
        return self._kept.cell

    @property
    def kubelet_directory(self) -> Path:
        """Where kubelet has its pods' directories."""
        return Path(self._settings.kubelet_directory)

    def named_at(self, volume_id: str) -> float | None:
        """When kubelet named a volume last, in event loop time; None: not since."""
        return self._seen.get(volume_id)

    async def publish(self, publish: Publish) -> None:
        """Make a pod's volume; return once the kernel has its VIP.

        A volume that was published before is only refreshed, and that never fails: its
        pod runs.

        Raises:
            PublishError: it is not made, or not yet.
        """
        await self.load()
        async with self._lock(publish.volume_id):
            kept = self._kept.volumes.get(publish.volume_id)
            if kept and (kept.published or publish.volume_id in self._ready):
                self._seen[publish.volume_id] = asyncio.get_running_loop().time()
                await self._refresh(kept, publish)
            else:
                await self._publish(publish, kept)

    async def _publish(self, publish: Publish, known: Kept | None) -> None:
        try:
            volume = volume_of(publish, self._settings.kubelet_directory)
            token = self._token(volume, publish)
            kept = (each.volume for each in self._kept.volumes.values())
            with self._claims.holding(volume, kept):
                await self._make(volume, token, known)
        except PublishError as error:
            if known is None or error.code == "UNAVAILABLE":
                raise
            raise PublishError("UNAVAILABLE", str(error)) from error
        except ConsulEbpfError as error:
            raise PublishError("UNAVAILABLE", str(error)) from error

    def _token(self, volume: Volume, publish: Publish) -> str:
        """Check the attributes; return the token; empty: there is no need for one."""
        try:
            check(volume, self._node)
            login = wants_login(volume)
        except InvalidAttributeError as error:
            raise PublishError("INVALID_ARGUMENT", str(error)) from None
        token = token_of(publish)
        if login and not token:
            raise PublishError(
                "UNAVAILABLE",
                "kubelet sent no service account token: CSIDriver"
                f" {self._settings.driver} needs tokenRequests",
            )
        return token

    async def _make(self, volume: Volume, token: str, known: Kept | None) -> None:
        now = asyncio.get_running_loop().time()
        new = known is None
        cgroup = await self._work(
            partial(self._places.make, volume, token, now, new=new)
        )
        kept = Kept(volume, cgroup, registration=known.registration if known else None)
        if kept != known:
            self._named[volume.id] = self._programmed.version
            self._seen[volume.id] = now
            await self._kept.keep(kept)
        since, wait = self._named.get(volume.id, 0), self._settings.wait
        if why := await self._programmed.why_not(volume.key, since, wait):
            raise PublishError("UNAVAILABLE", why)
        self._ready.add(volume.id)
        self._kept.change_soon({volume.id: _published})

    async def _refresh(self, kept: Kept, publish: Publish) -> None:
        """Take the newest token, and mount again what is mounted no more."""
        try:
            token = token_of(publish)
            await self._work(partial(self._places.renew, kept.volume, token))
        except ConsulEbpfError as error:
            self._wrong[kept.volume.id] = f"{kept.volume.owner}: its volume: {error}"
        else:
            self._wrong.pop(kept.volume.id, None)
        self._reasons.report(self._wrong.values())

    async def _work(self, work: Callable[[], T]) -> T:
        """Do blocking work in one of few threads: the rounds need some, too."""
        async with self._working:
            return await finish(work)

    async def unpublish(self, volume_id: str, target: str) -> None:
        """Remove a volume with its proxy; one that is unknown is gone.

        Raises:
            PublishError: UNAVAILABLE: something of it is still there.
        """
        await self.load()
        async with self._lock(volume_id):
            kept = self._kept.volumes.get(volume_id)
            self._seen.pop(volume_id, None)
            self._wrong.pop(volume_id, None)
            self._named.pop(volume_id, None)
            self._ready.discard(volume_id)
            try:
                if kept is not None:
                    await self._forget(kept)
                    target = kept.volume.target
                if kept is not None or self._is_ours(target):
                    await self._work(partial(self._places.remove, target))
            except ConsulEbpfError as error:
                raise PublishError("UNAVAILABLE", str(error)) from error

    async def _forget(self, kept: Kept) -> None:
        since, key = self._programmed.version, kept.volume.key
        await self._kept.remove(kept.volume.id)
        await self._programmed.is_gone(key, since, REMOVAL_SECONDS)
        await self._work(partial(self._places.forget, kept.volume))

    def _is_ours(self, target: str) -> bool:
        try:
            check_target(target, self._settings.kubelet_directory)
        except PublishError:
            return False
        return True

    def _lock(self, volume_id: str) -> asyncio.Lock:
        """Return the lock of a volume: kubelet may call twice."""
        return self._locks.setdefault(volume_id, asyncio.Lock())

    async def load(self) -> None:
        """Read what an earlier process knew, and remove other pods' tokens."""
        async with self._loading:
            if self._loaded:
                return
            volumes = await self._kept.load()
            keys = {each.volume.key for each in volumes.values()}
            await finish(partial(self._places.forget_others, keys))
            self._loaded = True


def _published(kept: Kept | None) -> Kept | None:
    return kept and msgspec.structs.replace(kept, published=True)
