"""What kubelet asks of a CSI driver, asked by a gRPC client over its unix sockets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import grpc

from consul_ebpf.kubernetes.csi import messages

SECONDS = 10.0


class Kubelet:
    """A client at one socket; use it with `async with`."""

    def __init__(self, path: Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{path}", options=(("grpc.use_local_subchannel_pool", 1),)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def publish(
        self,
        volume_id: str,
        target: str,
        context: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        group: str = "",
    ) -> None:
        request = messages.NodePublishVolumeRequest(
            volume_id=volume_id,
            target_path=target,
            volume_context=context or {},
            secrets=secrets or {},
        )
        request.volume_capability.mount.volume_mount_group = group
        await self.call("csi.v1.Node/NodePublishVolume", request.SerializeToString())

    async def unpublish(self, volume_id: str, target: str) -> None:
        request = messages.NodeUnpublishVolumeRequest(
            volume_id=volume_id, target_path=target
        )
        await self.call("csi.v1.Node/NodeUnpublishVolume", request.SerializeToString())

    async def ask(self, method: str, kind: Any) -> Any:
        return kind.FromString(await self.call(method))

    async def notify(self, *, registered: bool, error: str = "") -> None:
        status = messages.RegistrationStatus(plugin_registered=registered, error=error)
        method = "pluginregistration.Registration/NotifyRegistrationStatus"
        await self.call(method, status.SerializeToString())

    async def call(self, method: str, request: bytes = b"") -> bytes:
        call = self._channel.unary_unary(f"/{method}")
        answer: bytes = await call(request, timeout=SECONDS, wait_for_ready=True)
        return answer
