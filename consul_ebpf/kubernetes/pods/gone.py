"""Forgets volumes whose pods are gone without a word of kubelet's.

Kubelet tells of each pod that is deleted, but not if its own memory was lost.
"""

import asyncio
import logging
from pathlib import Path

from consul_ebpf.base.events import event
from consul_ebpf.base.threads import finish
from consul_ebpf.kubernetes.pods.volume import PublishError, Volume
from consul_ebpf.kubernetes.pods.volumes import PodVolumes

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""Between two looks for volumes whose pods are gone; each pod gets so long, too."""


class GonePods:
    """Looks for such volumes among `volumes`."""

    def __init__(self, volumes: PodVolumes) -> None:
        self._volumes = volumes

    def __repr__(self) -> str:
        return f"<GonePods of {self._volumes!r}>"

    async def run(self) -> None:
        """Look, until cancelled."""
        await self._volumes.load()
        begun = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            before = asyncio.get_running_loop().time() - LOOK_SECONDS
            for volume in await finish(self._find):
                named = self._volumes.named_at(volume.id)
                if (begun if named is None else named) <= before:
                    await self._remove(volume)

    async def _remove(self, volume: Volume) -> None:
        """Remove a volume; one that stays holds up no other."""
        logger.info("%s is gone: its volume is, too", volume.owner)
        try:
            await self._volumes.unpublish(volume.id, volume.target)
        except PublishError as error:
            line = f"{volume.owner}: its volume: {error}; unmount {volume.target}"
            logger.warning("%s", line, extra=event("volume_failed"))

    def _find(self) -> list[Volume]:
        """Return the volumes without a pod's directory, if kubelet's can be seen."""
        if not (self._volumes.kubelet_directory / "pods").is_dir():
            return []
        kept = (self._volumes.volumes.value or {}).values()
        volumes = [each.volume for each in kept]
        return [each for each in volumes if not Path(each.pod_directory).exists()]
