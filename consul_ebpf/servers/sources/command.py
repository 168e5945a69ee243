"""Servers by a command: `exec=`, as consul-dataplane's."""

import asyncio
import contextlib
import os
import signal

from consul_ebpf.config.seeds import Command
from consul_ebpf.model.errors import ConfigError, ConsulError
from consul_ebpf.model.values import Server
from consul_ebpf.servers.sources.static import parse_server

TIMEOUT = 30.0
"""Seconds that the command may take."""

MAX_OUTPUT = 64 * 1024
MAX_ERROR = 1024
"""Bytes; of what it says to stderr this much is shown."""


async def run(command: Command, patience: float = TIMEOUT) -> tuple[Server, ...]:
    """Run a command, without a shell, and read the addresses it prints.

    It and what it starts are killed when it takes more than `patience` seconds.

    Raises:
        ConsulError: it cannot be run, failed, or printed something else.
    """
    named = f"exec={command.argv[0]}"
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ConsulError(f"{named}: {error.strerror}") from None
    try:
        async with asyncio.timeout(patience):
            output, said = await process.communicate()
    except TimeoutError:
        raise ConsulError(f"{named}: not done within {patience:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        why = " ".join(said[:MAX_ERROR].decode(errors="replace").split())
        raise ConsulError(f"{named}: exit code {process.returncode}: {why[:300]}")
    try:
        words = output[:MAX_OUTPUT].decode("ascii").split()
        return tuple(parse_server(word, command.port) for word in words)
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConsulError(f"{named}: it printed no addresses: {error}") from None
