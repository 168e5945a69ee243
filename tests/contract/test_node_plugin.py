"""The node plugin over its real unix sockets, called as kubelet does."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consul_ebpf.base.latest import Latest
from consul_ebpf.kubernetes.csi import messages
from consul_ebpf.kubernetes.csi.plugin import LARGEST_REQUEST, Limits, Plugin
from consul_ebpf.kubernetes.pods.volume import Publish, PublishError
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError, KernelError
from consul_ebpf.model.values import PluginState
from tests.lab.kubelet_calls import Kubelet

DRIVER = "csi.consul-ebpf.io"
SECRET = "eyJhbGciOi.5ec2e7.70ken"


class Volumes:
    """Keeps the calls, and does what it is told to."""

    def __init__(self) -> None:
        self.published: list[Publish] = []
        self.unpublished: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.cancelled = 0

    async def publish(self, publish: Publish) -> None:
        self.published.append(publish)
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.error is not None:
            raise self.error

    async def unpublish(self, volume_id: str, target: str) -> None:
        self.unpublished.append((volume_id, target))
        if self.error is not None:
            raise self.error


class Node:
    """A plugin in a directory, with its sockets."""

    def __init__(self, directory: Path, limits: Limits | None = None) -> None:
        self.volumes = Volumes()
        self.csi = directory / "plugins" / DRIVER / "csi.sock"
        self.registering = directory / "plugins_registry" / f"{DRIVER}-reg.sock"
        self.state: Latest[PluginState] = Latest()
        self.plugin = Plugin(
            self.volumes,
            driver=DRIVER,
            node_name="n1",
            csi=self.csi,
            registering=self.registering,
            state=self.state,
            limits=limits,
        )

    async def until(self, **wanted: object) -> None:
        async with asyncio.timeout(10):
            async for state in self.state.changes():
                if all(getattr(state, k) == v for k, v in wanted.items()):
                    return

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Kubelet]:
        task = asyncio.create_task(self.plugin.run())
        try:
            await self.until(serving=True)
            async with Kubelet(self.csi) as kubelet:
                yield kubelet
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a unix socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def node(directory: Path) -> Node:
    return Node(directory)


def names_beside(path: Path) -> list[str]:
    return [each.name for each in path.parent.iterdir()]


async def code_of(call: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, caught.value.details() or ""


async def test_kubelet_learns_who_is_there(node: Node) -> None:
    """Registration names the socket, and CSI the node and the one capability."""
    async with node.running() as kubelet, Kubelet(node.registering) as registry:
        method = "pluginregistration.Registration/GetInfo"
        info = await registry.ask(method, messages.PluginInfo)
        assert ("CSIPlugin", DRIVER) == (info.type, info.name)
        assert (str(node.csi), ["1.0.0"]) == (
            info.endpoint,
            list(info.supported_versions),
        )
        info = await kubelet.ask(
            "csi.v1.Identity/GetPluginInfo", messages.GetPluginInfoResponse
        )
        assert DRIVER == info.name
        assert info.vendor_version
        assert b"" == await kubelet.call("csi.v1.Identity/GetPluginCapabilities")
        probe = await kubelet.ask("csi.v1.Identity/Probe", messages.ProbeResponse)
        assert probe.ready.value
        info = await kubelet.ask(
            "csi.v1.Node/NodeGetInfo", messages.NodeGetInfoResponse
        )
        assert ("n1", 0) == (info.node_id, info.max_volumes_per_node)
        can = await kubelet.ask(
            "csi.v1.Node/NodeGetCapabilities", messages.NodeGetCapabilitiesResponse
        )
        assert [6] == [each.rpc.type for each in can.capabilities]
        assert (
            "UNIMPLEMENTED"
            == (await code_of(kubelet.call("csi.v1.Node/NodeStageVolume")))[0]
        )


async def test_a_call_is_passed_on_whole(node: Node) -> None:
    """With the secrets, which no repr shows."""
    async with node.running() as kubelet:
        await kubelet.publish("v1", "/t", {"a": "b"}, {"s": SECRET}, group="7")
        await kubelet.publish("v1", "/t", {"a": "b"}, {"s": SECRET}, group="7")
        await kubelet.unpublish("v1", "/t")
        await kubelet.unpublish("v1", "/t")
    call = Publish("v1", "/t", {"a": "b"}, {"s": SECRET}, "7")
    assert [call, call] == node.volumes.published
    assert [("v1", "/t")] * 2 == node.volumes.unpublished
    assert SECRET not in repr(node.volumes.published)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            PublishError("INVALID_ARGUMENT", "bad\nthing"),
            "INVALID_ARGUMENT",
            "bad thing",
        ),
        (PublishError("UNAVAILABLE", "no Consul yet"), "UNAVAILABLE", "no Consul yet"),
        (KernelError("the table is full"), "UNAVAILABLE", "the table is full"),
        (OSError(28, "No space left", "/x"), "UNAVAILABLE", "No space left"),
        (
            KeyError(SECRET),
            "UNAVAILABLE",
            "unforeseen KeyError; the log says where",
        ),
        (
            grpc.RpcError(SECRET),
            "UNAVAILABLE",
            "unforeseen RpcError; the log says where",
        ),
    ],
)
async def test_every_error_is_a_status_of_one_line(
    node: Node,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: str,
    line: str,
) -> None:
    """No error of Python's is shown as it is: it may quote a token."""
    caplog.set_level(logging.DEBUG)
    node.volumes.error = error
    async with node.running() as kubelet:
        said = await code_of(kubelet.publish("v1", "/t", secrets={"s": SECRET}))
        assert (code, f"consul-ebpf: {line}") == said
        said = await code_of(kubelet.unpublish("v1", "/t"))
        assert (code, f"consul-ebpf: {line}") == said
        node.volumes.error = None
        await kubelet.publish("v1", "/t")
    assert SECRET not in caplog.text
    assert any(r.levelno >= logging.ERROR for r in caplog.records) == (
        not isinstance(error, ConsulEbpfError)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
async def test_garbage_is_refused_or_read(node: Node, data: bytes) -> None:
    """Whatever bytes come, the caller gets an answer, and the next call works."""
    async with node.running() as kubelet:
        for method in ("NodePublishVolume", "NodeUnpublishVolume"):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await kubelet.call(f"csi.v1.Node/{method}", data)
        await kubelet.publish("v1", "/t")


async def test_what_is_no_message_or_names_no_volume_is_final(node: Node) -> None:
    """Nothing is asked of the volumes."""
    async with node.running() as kubelet:
        call = kubelet.call("csi.v1.Node/NodePublishVolume", b"\xff\xff")
        said = ("INVALID_ARGUMENT", "consul-ebpf: the call cannot be read")
        assert said == await code_of(call)
        call = kubelet.call("csi.v1.Node/NodeUnpublishVolume", b"\x08")
        assert said == await code_of(call)
        said = ("INVALID_ARGUMENT", "consul-ebpf: the call names no volume")
        assert said == await code_of(kubelet.unpublish("", "/t"))
    assert [] == node.volumes.published
    assert [] == node.volumes.unpublished


async def test_a_call_over_a_megabyte_is_refused(node: Node) -> None:
    """It is not read, and the next call works."""
    async with node.running() as kubelet:
        context = {"a": "x" * LARGEST_REQUEST}
        code, _ = await code_of(kubelet.publish("v1", "/t", context))
        assert "RESOURCE_EXHAUSTED" == code
        await kubelet.publish("v1", "/t")
    assert ["v1"] == [each.volume_id for each in node.volumes.published]


async def test_a_hundred_calls_at_once_are_answered(node: Node) -> None:
    """None waits for another one."""
    node.volumes.hold = asyncio.Event()
    async with node.running() as kubelet:
        calls = [
            asyncio.create_task(kubelet.publish(f"v{number}", "/t"))
            for number in range(100)
        ]
        async with asyncio.timeout(10):
            while len(node.volumes.published) < 100:
                await asyncio.sleep(0.01)
        await kubelet.unpublish("v1", "/t")
        node.volumes.hold.set()
        await asyncio.gather(*calls)


async def test_more_calls_than_there_is_room_for_are_refused(directory: Path) -> None:
    """Kubelet tries again what is refused for this."""
    node = Node(directory, Limits(calls=2))
    node.volumes.hold = asyncio.Event()
    async with node.running() as kubelet:
        calls = [
            asyncio.create_task(kubelet.publish(f"v{number}", "/t"))
            for number in range(5)
        ]
        refused, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for each in refused:
            assert "RESOURCE_EXHAUSTED" == (await code_of(each))[0]
        node.volumes.hold.set()
        await asyncio.wait(calls)
        answered = [each for each in calls if each.exception() is None]
        assert 2 == len(answered)
        await kubelet.publish("v1", "/t")


async def test_a_call_that_kubelet_gives_up_ends(node: Node) -> None:
    """Its work is cancelled, and others go on."""
    node.volumes.hold = asyncio.Event()
    async with node.running() as kubelet:
        call = asyncio.create_task(kubelet.publish("v1", "/t"))
        async with asyncio.timeout(10):
            while not node.volumes.published:
                await asyncio.sleep(0.01)
            call.cancel()
            while not node.volumes.cancelled:
                await asyncio.sleep(0.01)
        node.volumes.hold.set()
        await kubelet.publish("v1", "/t")


async def test_the_sockets_are_roots_alone_and_leave_with_the_plugin(
    node: Node,
) -> None:
    """Nothing else stays beside them."""
    async with node.running():
        for path in (node.csi, node.registering):
            mode = path.lstat().st_mode
            assert stat.S_ISSOCK(mode)
            assert 0o600 == stat.S_IMODE(mode)
            assert [path.name] == names_beside(path)
    assert PluginState() == node.state.value
    for path in (node.csi, node.registering):
        assert [] == names_beside(path)


def leave_socket(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    return left


async def test_sockets_that_a_reboot_left_are_replaced(node: Node) -> None:
    """Nobody listens at them."""
    for path in (node.csi, node.registering, node.csi.with_name(".cs")):
        leave_socket(path).close()
    async with node.running() as kubelet, Kubelet(node.registering) as registry:
        await kubelet.publish("v1", "/t")
        await registry.notify(registered=True)


async def test_what_is_not_a_stale_socket_is_left(node: Node) -> None:
    """A file, or a socket at which another process listens."""
    node.csi.parent.mkdir(parents=True)
    node.csi.write_text("mine")
    with pytest.raises(
        ConfigError, match=r"csi\.sock is a regular file, which is left"
    ):
        await node.plugin.run()
    assert "mine" == node.csi.read_text()
    node.csi.unlink()
    with leave_socket(node.registering) as other:
        other.listen()
        said = rf"pid {os.getpid()} listens at .*-reg\.sock, perhaps another controller"
        with pytest.raises(ConsulEbpfError, match=said):
            await node.plugin.run()
        assert [] == names_beside(node.csi)
        assert node.registering.exists()


async def test_a_directory_that_cannot_be_made_is_named(directory: Path) -> None:
    """With the key that it comes from."""
    (directory / "k").write_text("")
    node = Node(directory / "k")
    with pytest.raises(ConsulEbpfError, match=r"kubernetes\.kubelet_directory: cannot"):
        await node.plugin.run()


async def test_kubelets_word_is_told(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each change."""
    caplog.set_level(logging.INFO)
    async with node.running(), Kubelet(node.registering) as registry:
        assert node.state.value == PluginState(serving=True)
        for _ in range(2):
            await registry.notify(registered=True)
        assert node.state.value == PluginState(serving=True, registered=True)
    assert 1 == caplog.text.count("kubelet registered the CSI driver")


async def test_a_refused_registration_is_tried_anew(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubelet looks at a new socket; the one for calls stays."""
    node = Node(directory, Limits(pause_seconds=0.05))
    async with node.running():
        # Not by the inodes' numbers, which are used again.
        before = node.registering.lstat().st_ctime_ns, node.csi.lstat().st_ctime_ns
        async with Kubelet(node.registering) as registry:
            await registry.notify(registered=False, error="no\nnode")
        assert "no node" == (node.state.value or PluginState()).error
        async with asyncio.timeout(10):
            while not node.registering.exists() or (
                node.registering.lstat().st_ctime_ns == before[0]
            ):
                await asyncio.sleep(0.01)
        assert before[1] == node.csi.lstat().st_ctime_ns
        async with Kubelet(node.registering) as registry:
            await registry.notify(registered=True)
        await node.until(registered=True, error="")
    assert "refused the CSI driver csi.consul-ebpf.io" in caplog.text


async def test_sockets_that_somebody_removed_are_made_anew(directory: Path) -> None:
    """Without them kubelet could not call."""
    node = Node(directory, Limits(look_seconds=0.05))
    async with node.running():
        node.csi.unlink()
        node.registering.unlink()
        async with asyncio.timeout(10):
            while not (node.csi.exists() and node.registering.exists()):
                await asyncio.sleep(0.01)
        async with Kubelet(node.csi) as again:
            await again.publish("v1", "/t")
