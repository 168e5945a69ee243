"""The services that kubelet calls: CSI's Identity and Node, and Registration.

Whatever kubelet or another root process sends, and whatever our own code raises, the
caller gets a message or a status with one printable line. A request holds tokens, so
none is logged, and no foreign exception's message is repeated: it could quote one.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import grpc

from consul_ebpf.base import timing
from consul_ebpf.base.boundary import reason
from consul_ebpf.base.events import event
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.version import installed_version
from consul_ebpf.kubernetes.csi import messages
from consul_ebpf.kubernetes.pods.volume import Publish, PublishError
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

SHOWN = 500
"""Most characters of a status: people read it in a pod's events."""

Answer = Callable[[bytes], Awaitable[bytes]]
"""Answers the bytes of a request with those of a message."""


class Volumes(Protocol):
    """Publishes volumes. Both methods may be called twice with the same volume."""

    async def publish(self, publish: Publish) -> None:
        """Make a pod's volume, and return once the pod can be served.

        Raises:
            PublishError: it is not; its code says whether to try again.
        """

    async def unpublish(self, volume_id: str, target: str) -> None:
        """Take a volume away; one that is unknown is gone already.

        Raises:
            ConsulEbpfError: it could not be; kubelet tries again.
        """


class Tell(Protocol):
    """Is called with kubelet's newest word on the registration."""

    def __call__(self, *, registered: bool, error: str) -> None:
        """Take it; `error` is one printable line."""


class NodeServices:
    """Identity and Node.

    Args:
        volumes: does the work.
        driver: the CSI driver's name.
        node_name: the node's name in Kubernetes.
    """

    def __init__(self, volumes: Volumes, *, driver: str, node_name: str) -> None:
        self._volumes = volumes
        self._driver = driver
        self._node_name = node_name

    def __repr__(self) -> str:
        return f"<NodeServices {self._driver} on {self._node_name}>"

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the services, for a server."""
        return (
            _service(
                "csi.v1.Identity",
                {
                    "GetPluginInfo": self._plugin_info,
                    "GetPluginCapabilities": _nothing,
                    "Probe": self._probe,
                },
            ),
            _service(
                "csi.v1.Node",
                {
                    "NodePublishVolume": self._publish,
                    "NodeUnpublishVolume": self._unpublish,
                    "NodeGetInfo": self._node_info,
                    "NodeGetCapabilities": self._capabilities,
                },
            ),
        )

    async def _plugin_info(self, _: bytes) -> bytes:
        return _encoded(
            messages.GetPluginInfoResponse(
                name=self._driver, vendor_version=installed_version() or "unknown"
            )
        )

    async def _probe(self, _: bytes) -> bytes:
        ready = messages.ProbeResponse()
        ready.ready.value = True
        return _encoded(ready)

    async def _node_info(self, _: bytes) -> bytes:
        # Kubelet does not ask again if this fails.
        return _encoded(messages.NodeGetInfoResponse(node_id=self._node_name))

    async def _capabilities(self, _: bytes) -> bytes:
        capabilities = messages.NodeGetCapabilitiesResponse()
        capabilities.capabilities.add().rpc.type = messages.VOLUME_MOUNT_GROUP
        return _encoded(capabilities)

    async def _publish(self, request: bytes) -> bytes:
        with timing.timed("publish"):
            await self._volumes.publish(_publish_of(request))
        return b""

    async def _unpublish(self, request: bytes) -> bytes:
        call = _decoded(messages.NodeUnpublishVolumeRequest, request)
        if not (call.volume_id and call.target_path):
            raise PublishError("INVALID_ARGUMENT", "the call names no volume")
        await self._volumes.unpublish(call.volume_id, call.target_path)
        return b""


def registration(driver: str, endpoint: str, tell: Tell) -> grpc.GenericRpcHandler:
    """Return the service by which kubelet registers a plugin.

    Args:
        driver: the CSI driver's name.
        endpoint: the path of the CSI socket as the host sees it.
        tell: is told whether kubelet did.
    """
    info = _encoded(
        messages.PluginInfo(
            type="CSIPlugin",
            name=driver,
            endpoint=endpoint,
            supported_versions=["1.0.0"],
        )
    )

    async def get_info(_: bytes) -> bytes:
        return info

    async def notify(request: bytes) -> bytes:
        status = _decoded(messages.RegistrationStatus, request)
        error = one_line(status.error, SHOWN)
        tell(registered=status.plugin_registered, error=error)
        return b""

    return _service(
        "pluginregistration.Registration",
        {"GetInfo": get_info, "NotifyRegistrationStatus": notify},
    )


def failure_of(error: Exception) -> tuple[str, str]:
    """Return the name of the status, and its line, for what went wrong in a call.

    Only INVALID_ARGUMENT is final. After any other final status kubelet would neither
    try again nor unpublish what was made.
    """
    if isinstance(error, PublishError):
        return error.code, one_line(error, SHOWN)
    if isinstance(error, ConsulEbpfError):
        return "UNAVAILABLE", one_line(error, SHOWN)
    if isinstance(error, OSError):
        return "UNAVAILABLE", reason(error)
    return "UNAVAILABLE", f"unforeseen {type(error).__name__}; the log says where"


async def _nothing(_: bytes) -> bytes:
    return b""


def _service(name: str, methods: Mapping[str, Answer]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        name,
        {
            method: grpc.unary_unary_rpc_method_handler(_guarded(method, answer))
            for method, answer in methods.items()
        },
    )


def _guarded(method: str, answer: Answer) -> Callable[[bytes, Any], Awaitable[bytes]]:
    """Return the handler of a method, which turns every exception into a status."""

    async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            return await answer(request)
        except Exception as error:  # noqa: BLE001  # it ends this call alone
            code, line = failure_of(error)
            _log(method, code, line, error)
        await context.abort(grpc.StatusCode[code], f"consul-ebpf: {line}")
        return b""

    return call


def _log(method: str, code: str, line: str, error: Exception) -> None:
    if isinstance(error, ConsulEbpfError):
        # Kubelet puts it into the pod's events, and `status` says what a pod lacks.
        logger.debug("%s: %s: %s", method, code, line)
        return
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.error(
        "kubelet's %s: %s at %s:%s",
        method,
        line,
        place.filename,
        place.lineno,
        extra=event("task_failed"),
    )


def _publish_of(request: bytes) -> Publish:
    call = _decoded(messages.NodePublishVolumeRequest, request)
    return Publish(
        volume_id=call.volume_id,
        target_path=call.target_path,
        context=dict(call.volume_context),
        secrets=dict(call.secrets),
        mount_group=call.volume_capability.mount.volume_mount_group,
    )


def _decoded(kind: Any, request: bytes) -> Any:
    try:
        return kind.FromString(request)
    except Exception:  # noqa: BLE001  # protobuf's own, of which there are several
        raise PublishError("INVALID_ARGUMENT", "the call cannot be read") from None


def _encoded(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
