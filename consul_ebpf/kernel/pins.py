"""`Pins`: a program's directory in bpffs, with the pins of its tables and links.

    <bpffs>/consul-ebpf/            locked by the one writer of this host: `HostLock`
        v<LAYOUT>/                  published by rename: whole or not there
            servers vips            the tables
            connect4 connect6       the links that keep the programs attached
            compiled                what the programs were compiled from: `stamp.py`
        staging/                    what a start is making, or has not finished
        retired/                    the last directory of this layout, for a moment
        aside/                      pins that were no tables of ours, to be looked at

Opening a pin needs only permission to read a file, so commands can read the tables
while the controller runs.
"""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.steps import step
from consul_ebpf.kernel import libbpf, objects
from consul_ebpf.kernel.host_lock import HostLock, check_owner
from consul_ebpf.kernel.maps import Map
from consul_ebpf.kernel.program import CONNECT, Program
from consul_ebpf.kernel.tables import open_tables
from consul_ebpf.model.errors import (
    ConsulEbpfError,
    KernelError,
    NotRunningError,
    PrivilegeError,
)

LINGER_SECONDS = 1.0
"""How long replies are still shown after DNS is switched off and leads no query."""


class Pins(HostLock):
    """A program's paths below one bpffs, and the lock on them."""

    def __init__(self, bpffs: Path, program: Program = CONNECT) -> None:
        """Name the paths of a program; nothing is made or locked yet."""
        super().__init__(bpffs / program.name)
        self.bpffs = bpffs
        self.program = program
        self.current = self.root / f"v{program.layout}"
        self.staging = self.root / "staging"
        self.retired = self.root / "retired"
        self.aside = self.root / "aside"

    def found(self) -> Path | None:
        """Return the published directory, whatever its layout; None if there is none.

        If a kill left several: the one of our layout, else the one of the newest.
        """
        for directory in (self.current, self.retired):
            if directory.is_dir():
                return directory
        others = [path for path in self._others() if path.name[1:].isdigit()]
        return max(others, key=lambda path: int(path.name[1:]), default=None)

    def _others(self) -> list[Path]:
        """Return published directories of other layouts."""
        try:
            return [
                path
                for path in self.root.iterdir()
                if path.name.startswith("v") and path != self.current
            ]
        except FileNotFoundError:
            return []

    def new_staging(self) -> Path:
        """Make an empty staging directory; one that is there is removed before."""
        self.discard_staging()
        step("make staging")
        self.staging.mkdir(mode=0o700)
        return self.staging

    def discard_staging(self) -> None:
        """Remove the staging directory, if there is one."""
        self._remove(self.staging)

    def publish(self, *, keep_old: bool = False) -> None:
        """Make the staging directory the current one.

        This is one step if there is no current directory. Else that one is renamed
        first: to `retired`, or with `keep_old` to `aside`.
        """
        if self.current.is_dir():
            old = self.aside if keep_old else self.retired
            self._remove(old)
            step(f"rename to {old.name}")
            self.current.rename(old)
        step("publish")
        self.staging.rename(self.current)

    def replace(self, name: str, fd: int) -> None:
        """Pin an object in the current directory; it replaces the pin of its name."""
        fresh = self.current / f"{name}-new"
        fresh.unlink(missing_ok=True)
        libbpf.obj_pin(fd, fresh)
        step(f"rename {fresh.name}")
        fresh.rename(self.current / name)

    def remove_old(self) -> None:
        """Remove the directories that the current one has replaced."""
        for left in self.current.glob("*-new"):  # of a start that was killed
            left.unlink()
        for name in self.program.hooks:
            (self.aside / name).unlink(missing_ok=True)
        for directory in (self.retired, *self._others()):
            self._remove(directory)

    @boundary(KernelError, "the pinned tables cannot be opened")
    def open_tables(self) -> dict[str, Map]:
        """Open the published tables, of this layout or another.

        Raises:
            NotRunningError: there are none.
            PrivilegeError: this process may not read them.
            ConsulEbpfError: what is pinned there is no table of ours.
        """
        directory = self._find()
        try:
            return open_tables(self.program, directory)
        except FileNotFoundError as error:
            raise NotRunningError(
                f"no tables are pinned at {directory}: start the controller (run)"
            ) from error
        except PermissionError as error:
            raise PrivilegeError(f"{directory} cannot be read: run as root") from error
        except (OSError, ValueError) as error:
            raise ConsulEbpfError(
                f"{directory} is damaged ({error}): start the controller (run), which "
                "makes it anew, or remove it with the detach command"
            ) from error

    def _find(self) -> Path:
        try:
            directory = self.found()
            if directory is not None:
                check_owner(self.root, self.root.stat())
        except PermissionError as error:
            raise PrivilegeError(f"{self.root} cannot be read: run as root") from error
        if directory is None:
            raise NotRunningError(
                f"no tables are pinned at {self.current}: start the controller "
                "(run) first, or name its bpffs in kernel.bpffs"
            )
        return directory

    @boundary(KernelError, "the pinned links cannot be looked at")
    def links(self) -> Mapping[str, objects.LinkInfo]:
        """Return what the kernel says of the pinned links, by hook."""
        infos = {}
        for name, fd in self.open_links(self.found()).items():
            infos[name] = objects.link_info(fd)
            os.close(fd)
        return infos

    def open_links(self, directory: Path | None) -> dict[str, int]:
        """Open the links that are pinned in a directory; their descriptors, by hook."""
        links: dict[str, int] = {}
        for name in self.program.hooks if directory is not None else ():
            with suppress(OSError):
                links[name] = libbpf.obj_get(directory / name)  # type: ignore[operator]
        return links

    @boundary(KernelError, "the pins cannot be removed")
    def remove(self, linger_seconds: float = 0.0) -> bool:
        """Remove every pin: links first, so that no program outlives its tables.

        Args:
            linger_seconds: how long the links of `Program.last_hooks` stay after the
                others, so that what is under way can end.

        Returns:
            Whether there was anything.
        """
        if not self.root.is_dir():
            return False
        found = False
        for directory in self.root.iterdir():
            self._remove(directory, linger_seconds)
            found = True
        self.root.rmdir()
        return found

    def _remove(self, directory: Path, linger_seconds: float = 0.0) -> None:
        """Remove a directory of pins, if it is there; the links first."""
        if not directory.is_dir():
            return
        step(f"remove {directory.name}")
        hooks, late = self.program.hooks, self.program.last_hooks
        for name in [each for each in hooks if each not in late]:  # in one order always
            (directory / name).unlink(missing_ok=True)
        last = [directory / name for name in hooks if name in late]
        if any(link.exists() for link in last):
            time.sleep(linger_seconds)
        for link in last:
            link.unlink(missing_ok=True)
        step(f"remove the rest of {directory.name}")
        shutil.rmtree(directory)
