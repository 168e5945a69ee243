"""Reads drop-in files with `[[proxies]]`, and keeps their last good content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.reading import FileError, Fingerprint, fingerprint, read_file
from consul_ebpf.config.decoding import parse
from consul_ebpf.config.proxies import to_proxies
from consul_ebpf.config.schema import NO_CREDENTIALS, Credentials, ProxyEntry, Section
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.kept import Kept
from consul_ebpf.proxies.memory import VIPS_FILE

DROP_INS_FILE = "dropins.json"
"""In the bootstraps' directory: each file's last good text, by its path. None: the file
was broken when it was first seen, so nobody knows what it held before."""

MAX_BYTES = 1024 * 1024
"""Most bytes of a file: some thousand proxies."""


class DropIn(Section, frozen=True):
    """One file."""

    proxies: list[ProxyEntry] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of one look at the files."""

    proxies: tuple[Proxy, ...]
    """The proxies to use."""
    wrong: tuple[str, ...] = ()
    """One line for each file whose newest content is not used, and for a directory that
    cannot be listed."""
    lacking: tuple[str, ...] = ()
    """The lines of `wrong` about files that may hold proxies which nobody knows now."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was when it was last read.

    `text` and `proxies` are the last good ones; None and empty if it never was good.
    `wrong` says why the newest content is not used. `unknown` says whether an earlier
    process may have read other proxies in it.
    """

    fingerprint: Fingerprint = ()
    text: str | None = None
    proxies: tuple[Proxy, ...] = ()
    wrong: str = ""
    unknown: bool = False


class DropIns:
    """The `*.toml` files in a directory, without hidden ones. Blocking.

    A file that cannot be read or used keeps its last good proxies, also those that an
    earlier process read. When a file is removed, its proxies are gone.
    """

    def __init__(
        self,
        path: Path,
        default: Credentials = NO_CREDENTIALS,
        *,
        state: Path | None = None,
        writes: bool = True,
    ) -> None:
        """Take the same arguments as `DirectoryWorkloads`."""
        self._path = path
        self._default = default
        self._state = state
        self._memory: Kept[dict[str, str | None]] | None = None
        if state is not None:
            of = dict[str, str | None]
            self._memory = Kept(state / DROP_INS_FILE, of, writes=writes)
        self._files: Mapping[Path, _Read] = {}
        self._blind = False

    def __repr__(self) -> str:
        return f"<DropIns {self._path}>"

    def load(self) -> None:
        """Begin with what an earlier process read."""
        kept = self._memory.load() if self._memory else None
        if kept is None and self._state is not None:
            # Proxies were served here, but nobody knows from which files.
            self._blind = (self._state / VIPS_FILE).exists()
        files = {}
        for name, text in (kept or {}).items():
            path = Path(name)
            if path.parent == self._path:  # not that of a directory configured before
                files[path] = self._again(path, text)
        self._files = files

    def _again(self, path: Path, text: str | None) -> _Read:
        if text is None:
            return _Read(unknown=True)
        try:
            proxies = self._parse(path, text.encode(errors="replace"))
        except ConfigError as error:  # another version's
            return _Read(wrong=str(error), unknown=True)
        return _Read(text=text, proxies=proxies)

    def kept(self, why: str) -> Scan:
        """Return what is known, because the directory cannot be read now."""
        wrong = f"{self._path}: {why}; keeping what was read"
        return Scan(self._proxies(), (wrong,), (wrong,))

    def scan(self) -> Scan:
        """Look at the files once."""
        try:
            paths = sorted(
                path
                for path in self._path.iterdir()
                if path.suffix == ".toml" and not path.name.startswith(".")
            )
        except FileNotFoundError:
            paths = []
        except OSError as error:
            return self.kept(error.strerror or str(error))
        files = {path: self._look(path) for path in paths}
        self._files, self._blind = files, False
        if self._memory:
            self._memory.save(
                {
                    str(path): read.text
                    for path, read in files.items()
                    if read.text is not None or read.unknown
                }
            )
        wrong = [read for read in files.values() if read.wrong]
        return Scan(
            self._proxies(),
            tuple(read.wrong for read in wrong),
            tuple(read.wrong for read in wrong if read.unknown),
        )

    def _proxies(self) -> tuple[Proxy, ...]:
        return tuple(proxy for read in self._files.values() for proxy in read.proxies)

    def _look(self, path: Path) -> _Read:
        """Read a file if it changed."""
        last = self._files.get(path, _Read(unknown=self._blind))
        seen: Fingerprint = ()
        try:
            if fingerprint(path) == last.fingerprint:
                return last
            content = read_file(path, MAX_BYTES)
            seen = content.fingerprint
            if last.proxies:
                _check_whole(path, content.data)
            proxies = self._parse(path, content.data)
        except (FileError, ConfigError) as error:
            kept = f"; keeping its last {len(last.proxies)} proxies"
            wrong = f"{error}{kept if last.proxies else ''}"
            return _Read(seen, last.text, last.proxies, wrong, last.unknown)
        return _Read(seen, content.data.decode(), proxies)

    def _parse(self, path: Path, data: bytes) -> tuple[Proxy, ...]:
        with boundary(ConfigError, str(path)):
            entries = parse(data, DropIn, str(path)).proxies
            try:
                return to_proxies(entries, str(path), self._default)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None


def _check_whole(path: Path, data: bytes) -> None:
    """Refuse an empty file: its writer, or the host, died while it was written."""
    if not data.strip():
        raise FileError(
            path, "is empty; to have no proxies remove it or write proxies = []"
        )
