"""Watches a directory of drop-in files for proxies."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

from consul_ebpf.base.reading import Fingerprint
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.config.schema import NO_CREDENTIALS, Credentials
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.drop_ins import DropIns, Scan
from consul_ebpf.proxies.sources.following import first_in_time

logger = logging.getLogger(__name__)

QUIET_MS = 100
"""The files are read when nothing happened for so long: writers finish first."""

LOOK_AGAIN_MS = 5000
"""How often to look at the files' times even if the kernel reports nothing: a link's
target may have changed elsewhere, or an event was lost, as on a network file system."""

PATIENCE_SECONDS = 5.0
"""After so long a directory that does not answer counts as one that cannot be read now,
as on a network file system whose server is gone."""


class DirectoryWorkloads:
    """A `WorkloadSource` of the `*.toml` files in a directory; it has the seam `Lacks`.

    A file or a directory that cannot be read keeps its last good proxies, and the log
    says so. A directory that does not exist has none.
    """

    def __init__(
        self,
        path: Path,
        default: Credentials = NO_CREDENTIALS,
        *,
        state: Path | None = None,
        writes: bool = True,
    ) -> None:
        """Watch the directory at `path`, which may come later.

        Args:
            path: of the directory.
            default: completes the proxies' own credentials.
            state: directory in which the last good files are kept for the next start;
                None: nowhere.
            writes: False: what is kept there is read, but not written.
        """
        self._path = path
        self._drop_ins = DropIns(path, default, state=state, writes=writes)
        self._lacking: tuple[str, ...] = (f"{path} has not been read yet",)

    def __repr__(self) -> str:
        return f"<DirectoryWorkloads {self._path}>"

    @property
    def lacking(self) -> tuple[str, ...]:
        """One line for each file, or for the directory, whose proxies are unknown."""
        return self._lacking

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the whole list at once and again after each change, for ever.

        A change of `lacking` counts as a change.
        """
        problems = Reasons(logger, "source_failed")
        last: Scan | None = None
        await asyncio.to_thread(self._drop_ins.load)
        async with aclosing(self._scans()) as scans:
            async for scan in scans:
                problems.report(scan.wrong)
                self._lacking = scan.lacking
                if last is None or scan.proxies != last.proxies:
                    logger.info("%s: %d proxies", self._path, len(scan.proxies))
                elif scan.lacking == last.lacking:
                    continue
                last = scan
                yield scan.proxies

    def _scans(self) -> AsyncGenerator[Scan, None]:
        return first_in_time(
            self._scans_for_ever(),
            PATIENCE_SECONDS,
            lambda: self._drop_ins.kept("does not answer"),
        )

    async def _scans_for_ever(self) -> AsyncGenerator[Scan, None]:
        async with aclosing(_events(self._path)) as events:
            async for _ in events:
                yield await asyncio.to_thread(self._drop_ins.scan)


async def _events(path: Path) -> AsyncGenerator[None, None]:
    """Yield at once, and whenever something may have changed.

    Whatever happens after a yield is already recorded, so no change is missed.
    """
    while True:
        watched = await asyncio.to_thread(_watchable, path)
        async with aclosing(_recorded(watched[0])) as changes:
            async for _ in changes:
                yield
                if watched != await asyncio.to_thread(_watchable, path):
                    break


async def _recorded(paths: Sequence[Path]) -> AsyncGenerator[None, None]:
    """Yield as soon as the paths are watched, and then after each change."""
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


def _watchable(path: Path) -> tuple[tuple[Path, ...], Fingerprint]:
    """Return the paths to watch, and what identifies the directory.

    The paths are the directory, if it exists, and the nearest existing one above it,
    where it would appear.
    """
    above = next(parent for parent in path.parents if parent.is_dir())
    try:
        status = path.stat()
    except OSError:
        return (above,), ()
    paths = (path, above) if path.is_dir() else (above,)
    return paths, (status.st_dev, status.st_ino)
