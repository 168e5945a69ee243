"""The webhook as it is served: by TLS, whatever others do at its port."""

import asyncio
import contextlib
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest

from consul_ebpf.base.tasks import keep_all_running
from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.webhook.admission import PATH
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.wiring.webhook import LIMITS, Webhook
from tests.lab.certificates import Authority
from tests.lab.consul_k8s.injection import injected
from tests.lab.consul_k8s.pieces import Mesh
from tests.unit.kubernetes.test_admission import question


@dataclass(frozen=True)
class Served:
    """A webhook that is served in this process."""

    port: int
    authority: Authority

    @asynccontextmanager
    async def client(self) -> AsyncIterator[aiohttp.ClientSession]:
        trusting = ssl.create_default_context(cadata=self.authority.pem)
        connector = aiohttp.TCPConnector(ssl=trusting)
        url = f"https://127.0.0.1:{self.port}"
        async with aiohttp.ClientSession(url, connector=connector) as client:
            yield client

    async def rewrites(self) -> bool:
        async with (
            self.client() as client,
            client.post(PATH, json=question(injected(Mesh()))) as answer,
        ):
            return "patch" in (await answer.json())["response"]


def free_address() -> str:
    """Return an address and port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def settings(directory: Path, authority: Authority) -> dict[str, str]:
    """Write a certificate, and return `[webhook]` with it."""
    issued = authority.issue(("127.0.0.1", "localhost"))
    (directory / "cert.pem").write_text(issued.cert)
    (directory / "key.pem").write_text(issued.key)
    return {
        "listen": free_address(),
        "certificates": "files",
        "cert": str(directory / "cert.pem"),
        "key": str(directory / "key.pem"),
    }


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Served]:
    authority = Authority()
    webhook = settings(directory, authority)
    config = msgspec.convert({"webhook": webhook}, Config)
    with contextlib.closing(Webhook(config)) as opened:
        serving = asyncio.create_task(keep_all_running(opened.parts()))
        try:
            yield Served(int(webhook["listen"].rpartition(":")[2]), authority)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


async def test_a_question_by_tls(tmp_path: Path) -> None:
    async with served(tmp_path) as webhook:
        assert await webhook.rewrites()


async def test_fault_k_nobody_waits_for_another_ones_handshake(tmp_path: Path) -> None:
    """Those who connect and say nothing, or no TLS, hold up nobody."""
    async with served(tmp_path) as webhook:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connected(webhook.port))
            stack.enter_context(connected(webhook.port)).sendall(
                b"GET / HTTP/1.1\r\n\r\n"
            )
            assert await webhook.rewrites()


async def test_fault_k_there_is_room_for_the_api_server(tmp_path: Path) -> None:
    """However many idle connections others hold: the oldest make way."""
    async with served(tmp_path) as webhook:
        with contextlib.ExitStack() as stack:
            for _ in range(LIMITS.address + 8):
                idle = await asyncio.to_thread(connected, webhook.port)
                stack.enter_context(idle)
            assert await webhook.rewrites()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Is named, with its key."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        webhook = {**settings(tmp_path, Authority()), "listen": taken}
        config = msgspec.convert({"webhook": webhook}, Config)
        with pytest.raises(ConsulEbpfError, match=rf"webhook.listen: .* {taken}: "):
            Webhook(config)


def test_certificates_of_its_own_need_a_cluster() -> None:
    """Outside of a pod there is none to keep them in."""
    with pytest.raises(ConfigError, match="in a pod"):
        Webhook(Config())


def test_the_command(tmp_path: Path) -> None:
    """It says when it is ready, and ends well when it is told to."""
    named = settings(tmp_path, Authority())
    config = tmp_path / "config.toml"
    lines = (f'{key} = "{text}"' for key, text in named.items())
    config.write_text("\n".join(["[webhook]", *lines]))
    with subprocess.Popen(
        [sys.executable, "-m", "consul_ebpf", "webhook", "--config", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert said == f"ready: the webhook listens at {named['listen']}\n"
    assert (process.returncode, errors) == (0, "")


def test_the_command_needs_nothing_of_the_kernel() -> None:
    """Nor what only the controller, or certificates of its own, need."""
    code = "import consul_ebpf.cli.webhook, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    foreign = {"consul_ebpf.kernel", "consul_ebpf.controller", "grpc", "cryptography"}
    assert loaded & foreign == set()
