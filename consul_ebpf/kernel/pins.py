"""A program's directory in bpffs: where things are pinned, and who may write.

    <bpffs>/consul-ebpf/            locked (flock) by the one writer of this host
        v<LAYOUT>/                  published by rename: whole or not there
            servers vips            the tables
            connect4 connect6       the links that keep the programs attached
        staging/                    what a start is making, or did not finish
        retired/                    the last directory of this layout, for a moment
        aside/                      tables that were not ours, to be looked at

Opening a pin needs only file permission, so reading works without the writer.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.steps import step
from consul_ebpf.kernel import host, libbpf, objects
from consul_ebpf.kernel.maps import Map
from consul_ebpf.kernel.ownership import check_owner, close_to_others
from consul_ebpf.kernel.program import CONNECT, Program
from consul_ebpf.kernel.tables import open_tables
from consul_ebpf.model.errors import (
    AlreadyRunningError,
    BpffsError,
    ConsulEbpfError,
    KernelError,
    NotRunningError,
    PrivilegeError,
)

LINGER_SECONDS = 1.0
"""From the last query that is led to the last reply that is shown, switched off."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Pins:
    """Paths below one bpffs, and the lock on them."""

    def __init__(self, bpffs: Path, program: Program = CONNECT) -> None:
        """Name the paths of a program; touches nothing."""
        self.bpffs = bpffs
        self.program = program
        self.root = bpffs / program.name
        self.current = self.root / f"v{program.layout}"
        self.staging = self.root / "staging"
        self.retired = self.root / "retired"
        self.aside = self.root / "aside"
        self._lock = -1

    def __repr__(self) -> str:
        return f"<Pins {self.root} {'locked' if self._lock >= 0 else 'not locked'}>"

    def lock(self) -> None:
        """Become this host's one writer, until `unlock` or the process's end.

        Locked already, the directory that is there now is locked in its place.

        Raises:
            AlreadyRunningError: another process is; the message names its pid.
        """
        step("make the directory")
        try:
            if not self.root.is_symlink():
                self.root.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.root, _DIRECTORY)
        except PermissionError as error:
            raise PrivilegeError(
                f"{self.root} cannot be used: run as root ({error.strerror})"
            ) from error
        except OSError as error:
            raise BpffsError(f"{self.root} cannot be made: {error.strerror}") from error
        try:
            close_to_others(self.root, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ConsulEbpfError:
            os.close(fd)
            raise
        except BlockingIOError as error:
            os.close(fd)
            raise AlreadyRunningError(
                f"another controller (pid {host.lock_holder(self.root)}) holds this "
                f"host by {self.root}: stop it first, or set another kernel.bpffs"
            ) from error
        self.unlock()
        self._lock = fd

    def unlock(self) -> None:
        """Let another writer in."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        self.lock()
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def in_place(self) -> bool:
        """Whether the locked directory is the one at `root` now."""
        try:
            there = self.root.stat()
        except OSError:
            return False
        ours = os.fstat(self._lock)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def holder(self) -> int | None:
        """Return the pid of the writer, None if there is none."""
        return host.lock_holder(self.root)

    def found(self) -> Path | None:
        """Return the published directory, whatever its layout; None if there is none.

        Where a kill left several, ours is first, then the newest layout.
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
        """Make an empty staging directory; what an earlier one pinned is let go."""
        self.discard_staging()
        step("make staging")
        self.staging.mkdir(mode=0o700)
        return self.staging

    def discard_staging(self) -> None:
        """Remove the staging directory, if there is one."""
        self._remove(self.staging)

    def publish(self, *, keep_old: bool = False) -> None:
        """Make the staging directory the current one.

        One step where no directory of our layout is in the way; else that one is
        retired first, or put aside with `keep_old`.
        """
        if self.current.is_dir():
            old = self.aside if keep_old else self.retired
            self._remove(old)
            step(f"rename to {old.name}")
            self.current.rename(old)
        step("publish")
        self.staging.rename(self.current)

    def replace(self, name: str, fd: int) -> None:
        """Pin an object in the current directory in the place of what has its name."""
        fresh = self.current / f"{name}-new"
        fresh.unlink(missing_ok=True)
        libbpf.obj_pin(fd, fresh)
        step(f"rename {fresh.name}")
        fresh.rename(self.current / name)

    def remove_old(self) -> None:
        """Remove what the current directory took the place of."""
        for left in self.current.glob("*-new"):  # of a start that was killed
            left.unlink()
        for name in self.program.hooks:
            (self.aside / name).unlink(missing_ok=True)
        for directory in (self.retired, *self._others()):
            self._remove(directory)

    @boundary(KernelError, "the pinned tables cannot be opened")
    def open_tables(self) -> dict[str, Map]:
        """Open the published tables, of whatever layout.

        Raises:
            NotRunningError: there are none.
            ConsulEbpfError: a pin is not what is pinned there.
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
        """Return what the pinned links say of themselves, by hook."""
        infos = {}
        for name, fd in self.open_links(self.found()).items():
            infos[name] = objects.link_info(fd)
            os.close(fd)
        return infos

    def open_links(self, directory: Path | None) -> dict[str, int]:
        """Open the links pinned in a directory, by hook; those that are there."""
        links: dict[str, int] = {}
        for name in self.program.hooks if directory is not None else ():
            with suppress(OSError):
                links[name] = libbpf.obj_get(directory / name)  # type: ignore[operator]
        return links

    @boundary(KernelError, "the pins cannot be removed")
    def remove(self, linger_seconds: float = 0.0) -> bool:
        """Remove every pin: links go first, so no program outlives its tables.

        Args:
            linger_seconds: from the first links to those of `Program.last_hooks`, so
                that what is under way can end.

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
        for name in self.program.hooks.keys() - self.program.last_hooks:
            (directory / name).unlink(missing_ok=True)
        last = [directory / name for name in self.program.last_hooks]
        if any(link.exists() for link in last):
            time.sleep(linger_seconds)
        for link in last:
            link.unlink(missing_ok=True)
        step(f"remove the rest of {directory.name}")
        shutil.rmtree(directory)
