"""Proxies from drop-in files in a directory, watched."""

import asyncio
import logging
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import msgspec
from watchfiles import awatch

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.config.decoding import parse
from consul_ebpf.config.proxies import to_proxies
from consul_ebpf.config.schema import NO_CREDENTIALS, Credentials, ProxyEntry, Section
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import Proxy

logger = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
"""Of one file: some thousand proxies."""

QUIET_MS = 100
"""How long nothing may happen before the files are read: writers finish first."""

LOOK_AGAIN_MS = 5000
"""The files' times are looked at this often even if the kernel reports nothing: a
link's target that changed elsewhere, a network file system, a lost event."""


class DropIn(Section, frozen=True):
    """One file."""

    proxies: list[ProxyEntry] = msgspec.field(default_factory=list)


Fingerprint = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file said when it was last looked at.

    `proxies` are the last good ones, `wrong` is why the newest content is not used.
    """

    fingerprint: Fingerprint
    proxies: tuple[Proxy, ...] = ()
    wrong: str = ""


class DirectoryWorkloads:
    """A `WorkloadSource` of the `*.toml` files in a directory.

    A file that cannot be read or used leaves its last good proxies in place and is
    logged; so does a directory that cannot be read. A directory that is not there
    is empty. Hidden files are left alone.
    """

    def __init__(self, path: Path, default: Credentials = NO_CREDENTIALS) -> None:
        """Watch the directory at `path`, which may come later.

        `default` completes the proxies' own credentials.
        """
        self._path = path
        self._default = default
        self._files: dict[Path, _Read] = {}

    def __repr__(self) -> str:
        return f"<DirectoryWorkloads {self._path}>"

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever."""
        problems = Reasons(logger, "source_failed")
        last: tuple[Proxy, ...] | None = None
        async with aclosing(_events(self._path)) as events:
            async for _ in events:
                proxies, wrong = await asyncio.to_thread(self.scan)
                problems.report(wrong)
                if proxies != last:
                    logger.info("%s: %d proxies", self._path, len(proxies))
                    last = proxies
                    yield proxies

    def scan(self) -> tuple[tuple[Proxy, ...], tuple[str, ...]]:
        """Look at the files once; return the proxies in use and what is wrong."""
        try:
            paths = sorted(
                path
                for path in self._path.iterdir()
                if path.suffix == ".toml" and not path.name.startswith(".")
            )
        except FileNotFoundError:
            paths = []
        except OSError as error:
            wrong = f"{self._path}: {error.strerror}; keeping what was read"
            return self._proxies(), (wrong,)
        self._files = {path: self._look(path) for path in paths}
        return self._proxies(), tuple(
            read.wrong for read in self._files.values() if read.wrong
        )

    def _proxies(self) -> tuple[Proxy, ...]:
        return tuple(proxy for read in self._files.values() for proxy in read.proxies)

    def _look(self, path: Path) -> _Read:
        """Read a file if it is another one than before."""
        last = self._files.get(path, _Read(()))
        try:
            data, fingerprint = _content(path, last.fingerprint)
        except OSError as error:
            return _Read((), last.proxies, f"{path}: {error.strerror}{_kept(last)}")
        if data is None:
            return last
        try:
            entries = parse(data, DropIn, str(path)).proxies
        except ConfigError as error:
            return _Read(fingerprint, last.proxies, f"{error}{_kept(last)}")
        try:
            proxies = to_proxies(entries, str(path), self._default)
        except ConfigError as error:
            return _Read(fingerprint, last.proxies, f"{path}: {error}{_kept(last)}")
        return _Read(fingerprint, proxies)


def _kept(last: _Read) -> str:
    return f"; keeping its last {len(last.proxies)} proxies" if last.proxies else ""


def _content(path: Path, seen: Fingerprint) -> tuple[bytes | None, Fingerprint]:
    """Return the content, None if it is what was `seen`, and the fingerprint.

    Raises:
        OSError: it cannot be read, or is not what should be read.
    """
    # Not blocking, so that a FIFO put there cannot stop us.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a file")
        fingerprint = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        if fingerprint == seen:
            return None, seen
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise OSError(0, f"larger than {MAX_BYTES >> 20} MiB; split it")
    return data, fingerprint


async def _events(path: Path) -> AsyncGenerator[None, None]:
    """Yield at once, and whenever something may have changed.

    Each time it yields, what happens from then on is already being recorded.
    """
    while True:
        watched, identity = _watchable(path), _identity(path)
        async with aclosing(_recorded(watched)) as changes:
            async for _ in changes:
                yield
                if (watched, identity) != (_watchable(path), _identity(path)):
                    break


async def _recorded(paths: Sequence[Path]) -> AsyncGenerator[None, None]:
    """Yield once the paths are being watched, and then after each change."""
    changes = awatch(
        *paths,
        watch_filter=None,  # a ConfigMap changes by its hidden link `..data`
        step=QUIET_MS,
        recursive=False,
        rust_timeout=LOOK_AGAIN_MS,
        yield_on_timeout=True,
    )
    async with aclosing(changes):
        while True:
            change = asyncio.ensure_future(anext(changes))
            try:
                await asyncio.sleep(0)  # the watch is set up in its first step
                yield
                await change
            except (OSError, RuntimeError) as error:  # inotify's limits, mostly
                logger.debug("%s cannot be watched now: %s", paths[0], error)
                await asyncio.sleep(LOOK_AGAIN_MS / 1000)
                return
            finally:
                change.cancel()
                await asyncio.wait([change])


def _watchable(path: Path) -> tuple[Path, ...]:
    """Return the directory, and the nearest one above it: where it would appear."""
    above = next(parent for parent in path.parents if parent.is_dir())
    return (path, above) if path.is_dir() else (above,)


def _identity(path: Path) -> Fingerprint:
    """Tell one directory at `path` from another that takes its place."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino
