"""Our directory in bpffs: where things are pinned, and who may write.

    <bpffs>/consul-ebpf/            locked (flock) by the one writer of this host
        v<LAYOUT>/                  published by rename: whole or not there
            servers vips            the tables
            connect4 connect6       the links that keep the programs attached
        staging/                    what a start that did not finish left behind

Opening a pin needs only file permission, so reading works without the writer.
"""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Self

from consul_ebpf._errors import (
    AlreadyRunningError,
    BpffsError,
    ConsulEbpfError,
    NotRunningError,
    PrivilegeError,
)
from consul_ebpf.kernel import host, libbpf
from consul_ebpf.kernel.codec import LAYOUT, SERVER, SLOTS, VIP, VIP_KEY
from consul_ebpf.kernel.loader import HOOKS, TABLES

DIRECTORY = "consul-ebpf"

_HASH, _ARRAY = 1, 2  # enum bpf_map_type
_EXPECTED = {
    "servers": (_ARRAY, 4, SERVER.size),
    "vips": (_HASH, VIP_KEY.size, VIP.size),
}


class Pins:
    """Paths below one bpffs, and the lock on them."""

    def __init__(self, bpffs: Path) -> None:
        """Name the paths; touches nothing."""
        self.root = bpffs / DIRECTORY
        self.current = self.root / f"v{LAYOUT}"
        self.staging = self.root / "staging"
        self._lock = -1

    def __repr__(self) -> str:
        return f"<Pins {self.root} {'locked' if self._lock >= 0 else 'not locked'}>"

    def lock(self) -> None:
        """Become this host's one writer, until `unlock` or the process's end.

        Raises:
            AlreadyRunningError: another process is; the message names its pid.
        """
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError as error:
            raise PrivilegeError(
                f"{self.root} cannot be used: run as root ({error.strerror})"
            ) from error
        except OSError as error:
            raise BpffsError(f"{self.root} cannot be made: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise AlreadyRunningError(
                f"another controller (pid {host.lock_holder(self.root)}) holds this "
                f"host by {self.root}: stop it first, or set another kernel.bpffs"
            ) from error
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

    def holder(self) -> int | None:
        """Return the pid of the writer, None if there is none."""
        return host.lock_holder(self.root)

    def new_staging(self) -> Path:
        """Make an empty staging directory; what an earlier one pinned is let go."""
        self.discard_staging()
        self.staging.mkdir(mode=0o700)
        return self.staging

    def discard_staging(self) -> None:
        """Remove the staging directory, if there is one."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def publish(self) -> None:
        """Make the staging directory the current one, in one step."""
        self.staging.rename(self.current)

    def open_tables(self) -> dict[str, libbpf.Map]:
        """Open the published tables.

        Raises:
            NotRunningError: there are none.
            ConsulEbpfError: a pin is not what this version pinned there.
        """
        maps: dict[str, libbpf.Map] = {}
        try:
            for name in TABLES:
                maps[name] = libbpf.Map(libbpf.obj_get(self.current / name))
                self._check(name, maps[name].info)
        except BaseException as error:
            for opened in maps.values():
                opened.close()
            if isinstance(error, FileNotFoundError):
                raise NotRunningError(
                    f"no tables are pinned at {self.current}: start the controller "
                    "(run) first, or name its bpffs in kernel.bpffs"
                ) from error
            if isinstance(error, PermissionError):
                raise PrivilegeError(
                    f"{self.current} cannot be read: run as root"
                ) from error
            raise
        return maps

    def _check(self, name: str, info: libbpf.MapInfo) -> None:
        if (info.type, info.key_size, info.value_size) != _EXPECTED[name] or (
            name != "vips" and info.max_entries != SLOTS
        ):
            raise ConsulEbpfError(
                f"{self.current / name} is not a table of this version ({info}): "
                "remove it with the detach command, then start again"
            )

    def links(self) -> dict[str, libbpf.LinkInfo]:
        """Return what the pinned links say of themselves, by hook."""
        found = {}
        for name in HOOKS:
            try:
                fd = libbpf.obj_get(self.current / name)
            except OSError:
                continue
            try:
                found[name] = libbpf.link_info(fd)
            finally:
                os.close(fd)
        return found

    def remove(self) -> bool:
        """Remove every pin: links go first, so no program outlives its tables.

        Returns:
            Whether there was anything.
        """
        if not self.root.is_dir():
            return False
        found = False
        for directory in self.root.iterdir():
            for name in HOOKS:
                (directory / name).unlink(missing_ok=True)
            shutil.rmtree(directory)
            found = True
        self.root.rmdir()
        return found
