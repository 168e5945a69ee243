"""Servers by a command: `exec=`, as with consul-dataplane."""

import asyncio
import contextlib
import os
import re
import signal

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.lines import one_line
from consul_ebpf.config.seeds import Command
from consul_ebpf.model.errors import ConfigError, ConsulError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.static import parse_server
from consul_ebpf.servers.sources.union import Found

COMMAND_SECONDS = 30.0
"""Seconds that the command may take."""

MAX_OUTPUT = 64 * 1024
"""Most bytes of output. More is an error: a part of it would be another list."""

MAX_ERROR = 1024
"""Most bytes of stderr that are shown; the rest is read and dropped."""

LINGER_SECONDS = 1.0
"""Seconds to read the rest of the output after the command has ended, if a process that
it started still holds the pipes open; and to wait for the killed processes to end."""

BETWEEN = re.compile(r"[\s,;]+")
AROUND = "\"'`"
LISTS = "[](){}"
"""What may stand between and around addresses, as in lists of many languages."""


async def run(
    command: Command, again: float = float("inf"), patience: float = COMMAND_SECONDS
) -> Found:
    """Run a command, without a shell, and read the addresses it prints.

    Its process group is always killed at the end. Words that are no addresses are left
    out.

    Args:
        command: with its arguments.
        again: seconds until it is to be run again; part of the answer.
        patience: seconds that it may take.

    Raises:
        ConsulError: it cannot be run, failed, took too long, printed too much, or
            printed no address.
    """
    named = one_line(f"exec={command.argv[0]}", 200)
    output = await _run(command, named, patience)
    servers: dict[str, Server] = {}
    wrong: list[str] = []
    for word in filter(None, BETWEEN.split(output.decode("utf-8", "backslashreplace"))):
        try:
            server = _server(word, command.port)
        except ConfigError as error:
            wrong.append(f"{named}: left out {one_line(error, 300)}")
        else:
            servers[server.id] = server
    if not servers:
        why = wrong[0].partition(": left out ")[2] if wrong else "it printed nothing"
        raise ConsulError(f"{named}: it printed no addresses: {why}")
    return Found(tuple(servers.values()), again, tuple(wrong))


def _server(word: str, port: int) -> Server:
    """Read a word, without the quotes or brackets around it."""
    try:
        return parse_server(word.strip(AROUND), port)
    except ConfigError:
        bare = word.strip(AROUND + LISTS)
        if not bare or bare == word.strip(AROUND):
            raise
        return parse_server(bare, port)


class _Output(asyncio.SubprocessProtocol):
    """Counts what a process prints, while it prints."""

    def __init__(self) -> None:
        self.output, self.said = bytearray(), bytearray()
        self.exited, self.done = asyncio.Event(), asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.said += data[: MAX_ERROR - len(self.said)]
            return
        self.output += data[: MAX_OUTPUT + 1 - len(self.output)]
        if len(self.output) > MAX_OUTPUT:
            self.done.set()

    def process_exited(self) -> None:
        self.exited.set()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.done.set)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.done.set()  # the command has ended, and nobody holds its pipes


async def _run(command: Command, named: str, patience: float) -> bytes:
    """Return all of the output of a command that succeeded."""
    with boundary(ConsulError, named):
        transport, process = await asyncio.get_running_loop().subprocess_exec(
            _Output,
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(patience):
            await process.done.wait()
    except TimeoutError:
        raise ConsulError(f"{named}: not done within {patience:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await process.exited.wait()
        except TimeoutError:
            pass  # the kernel is busy with it; it is reaped when it ends
        finally:
            transport.close()
    if len(process.output) > MAX_OUTPUT:
        raise ConsulError(f"{named}: it printed more than {MAX_OUTPUT >> 10} KiB")
    if code := transport.get_returncode():
        why = one_line(process.said.decode(errors="replace"), 300)
        raise ConsulError(f"{named}: exit code {code}: {why}")
    return bytes(process.output)
