"""Where each proxy's files are, and where they were before. Blocking.

Most are in the bootstraps' directory, each proxy's in a directory named like its key.
Other places are kept in a file, so that files there can be removed after a restart,
too.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import named, shown
from consul_ebpf.model.values import Proxy, ProxyFiles

ELSEWHERE_FILE = "elsewhere.json"
"""In the bootstraps' directory. It holds the other directories, each with a key; the
path of one that somebody else makes and removes ends with a slash."""


def as_seen(proxy: Proxy, path: Path) -> Path:
    """Return the path of one of a proxy's files as its Envoy sees it."""
    files = proxy.files
    if files is None or not files.seen_at or not path.is_relative_to(files.directory):
        return path
    return files.seen_at / path.relative_to(files.directory)


def in_container(proxy: Proxy) -> bool:
    """Whether a proxy's Envoy sees other files than the controller does."""
    return proxy.files is not None and bool(proxy.files.seen_at)


_UNKNOWN = object()


class Places:
    """Remembers whose files are where.

    Args:
        top: the bootstraps' directory.
        needed: name of the file that an Envoy starts with.
    """

    def __init__(self, top: Path, needed: str) -> None:
        self._top = top
        self._needed = needed
        self._file = JsonFile(top / ELSEWHERE_FILE, dict[str, str])
        self._elsewhere: dict[str, str] | None = None
        """Proxy keys by directory; None: the file was not read yet."""
        self._settled: dict[str, ProxyFiles | None] = {}
        """By proxy key, where its files go now; None: to the directory of its key."""

    def __repr__(self) -> str:
        return f"<Places {self._top}>"

    def of(self, proxy: Proxy) -> Path:
        """Return the directory of a proxy's files."""
        return Path(self._path(proxy.key, proxy.files))

    def directory_of(self, key: str) -> str:
        """Return the directory of a proxy's files, by its key."""
        return self._path(key, self._settled.get(key))

    def keys(self) -> list[str]:
        """Return the keys of the proxies of which it is known where their files go."""
        return list(self._settled)

    def _path(self, key: str, files: ProxyFiles | None) -> str:
        return f"{self._top}/{key}" if files is None else str(Path(files.directory))

    def settle(self, proxies: Iterable[Proxy]) -> None:
        """Remember where these proxies' files go, before any are written there.

        Raises:
            InvalidProxyError: a directory is within the bootstraps' directory; those of
                the others are remembered.
        """
        news, wrong = {}, None
        for proxy in proxies:
            key, files = proxy.key, proxy.files
            if key in self._settled and self._settled[key] == files:
                continue
            directory = self.of(proxy)
            if files is not None and directory != self._top / key:
                try:
                    self.check(proxy)
                except InvalidProxyError as error:
                    wrong = error
                    continue
                slash = "/" if files.exists_already else ""
                news[f"{directory}{slash}"] = key
            self._settled[key] = files
        elsewhere = self._read()
        if news.items() - elsewhere.items():
            for each in news:
                elsewhere.pop(_other_form(each), None)
            elsewhere.update(news)
            self._file.save(dict(elsewhere))
        if wrong is not None:
            raise wrong

    def in_use(self, keep: Collection[str]) -> Iterator[str]:
        """Return where the files of the proxies with these keys go now, one by one."""
        return map(self.directory_of, keep)

    def are_here(self, key: str) -> bool:
        """Whether a proxy's files go to the bootstraps' directory, as most do."""
        return self._settled.get(key, _UNKNOWN) is None

    def is_used(self, directory: Path, key: str, keep: Collection[str]) -> bool:
        """Whether an Envoy may still need the files in a directory.

        If the proxy's files go elsewhere now, it needs the old ones until the new ones
        are there.

        Args:
            directory: where the files are.
            key: whose they are.
            keep: the keys of all proxies there are.
        """
        if key not in keep:
            return False
        if key not in self._settled:
            return True
        now = Path(self.directory_of(key))
        return now == directory or not os.path.lexists(now / self._needed)

    def elsewhere(self) -> dict[Path, str]:
        """Return the other directories in which files were put, with their keys."""
        return {Path(directory): key for directory, key in self._read().items()}

    def stays(self, directory: Path) -> bool:
        """Whether somebody else removes one of the other directories."""
        return f"{directory}/" in self._read()

    def keep_only(self, keys: Collection[str]) -> None:
        """Forget where the files of all other proxies go."""
        for key in set(self._settled).difference(keys):
            del self._settled[key]

    def forget(self, removed: Iterable[Path]) -> None:
        """Forget those of the other directories whose files were removed."""
        elsewhere = self._read()
        names = {name for each in removed for name in (str(each), f"{each}/")}
        gone = names & elsewhere.keys()
        for each in gone:
            files = self._settled.get(key := elsewhere.pop(each))
            if files is not None and self._path(key, files) == each.rstrip("/"):
                del self._settled[key]
        if gone:
            self._file.save(dict(elsewhere))

    def left_for(self, key: str) -> Path:
        """Return where a proxy's files are, for a command that changes nothing.

        If they are in several places, it is where they were written last; if in none,
        one where they may come to be.
        """
        try:
            others = self._file.read() or {}
        except (ValueError, RecursionError):
            others = {}
        places = [Path(place) for place, whose in others.items() if whose == key]
        return max([*places, self._top / key], key=self._written)

    def _written(self, directory: Path) -> float:
        try:
            return (directory / self._needed).stat().st_mtime
        except OSError:
            return 0.0

    def check(self, proxy: Proxy) -> None:
        """Check that a proxy's directory is its own, whatever links lead to it.

        Raises:
            InvalidProxyError: it is within the bootstraps' directory.
        """
        if proxy.files is None:
            return
        directory, top = self.of(proxy), os.path.realpath(self._top)
        if directory == self._top / proxy.key:
            return
        if Path(os.path.realpath(directory)).is_relative_to(top):
            raise InvalidProxyError(
                f"{named(proxy)}: files.directory {shown(str(directory))} is in {top},"
                " where each proxy has a directory of its own: leave it out, or name"
                " one elsewhere"
            )

    def _read(self) -> dict[str, str]:
        if self._elsewhere is None:
            self._elsewhere = dict(self._file.load() or {})
        return self._elsewhere


def _other_form(directory: str) -> str:
    """Return a path without its last slash, or with one."""
    return directory[:-1] if directory.endswith("/") else f"{directory}/"
