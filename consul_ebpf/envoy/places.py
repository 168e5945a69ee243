"""Where each proxy's files are, and were. Blocking.

Most are in the bootstraps' directory, in directories named like the proxies' keys.
Where files were put elsewhere is remembered, so that a restart can remove them, too.
"""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.names import named, shown
from consul_ebpf.model.values import Proxy

ELSEWHERE_FILE = "elsewhere.json"
"""In the bootstraps' directory: directories elsewhere, and whose they are (keys)."""


def as_seen(proxy: Proxy, path: Path) -> Path:
    """Return the path of one of a proxy's files as its Envoy sees it."""
    files = proxy.files
    if files is None or not files.seen_at or not path.is_relative_to(files.directory):
        return path
    return files.seen_at / path.relative_to(files.directory)


class Places:
    """Remembers whose files are where."""

    def __init__(self, top: Path, needed: str) -> None:
        """`top` is the bootstraps' directory, `needed` what an Envoy starts with."""
        self._top = top
        self._needed = needed
        self._file = JsonFile(top / ELSEWHERE_FILE, dict[str, str])
        self._elsewhere: dict[str, str] | None = None
        """Keys by directory; None: not read yet."""
        self._now: dict[str, Path] = {}
        """Where the files of each key go now."""

    def __repr__(self) -> str:
        return f"<Places {self._top}>"

    def of(self, proxy: Proxy) -> Path:
        """Return the directory of a proxy's files."""
        if proxy.files is None:
            return self._top / proxy.key
        return Path(proxy.files.directory)

    def settle(self, proxies: Iterable[Proxy]) -> None:
        """Remember where these proxies' files go, before any are written there.

        Raises:
            InvalidProxyError: they are to go into another proxy's place.
        """
        news = {}
        for proxy in proxies:
            directory = self.of(proxy)
            if proxy.files is not None and directory != self._top / proxy.key:
                self._check(proxy, directory)
                news[str(directory)] = proxy.key
            self._now[proxy.key] = directory
        elsewhere = self._read()
        if news.items() - elsewhere.items():
            elsewhere.update(news)
            self._file.save(dict(elsewhere))

    def in_use(self, keep: Collection[str]) -> set[Path]:
        """Return where the files of these keys go now."""
        return {self._now.get(key, self._top / key) for key in keep}

    def is_used(self, directory: Path, key: str, keep: Collection[str]) -> bool:
        """Whether an Envoy may still need what is in a directory of this key.

        That of a proxy whose files go elsewhere now does until they are there.
        """
        if key not in keep:
            return False
        now = self._now.get(key, directory)
        return now == directory or not os.path.lexists(now / self._needed)

    def elsewhere(self) -> dict[Path, str]:
        """Return the directories elsewhere in which files were put, and their keys."""
        return {Path(directory): key for directory, key in self._read().items()}

    def keep_only(self, keys: Collection[str]) -> None:
        """Forget where the files of others go."""
        self._now = {key: each for key, each in self._now.items() if key in keys}

    def forget(self, removed: Iterable[Path]) -> None:
        """Forget directories elsewhere from which the files are removed."""
        elsewhere = self._read()
        gone = [str(each) for each in removed if str(each) in elsewhere]
        for each in gone:
            del elsewhere[each]
        if gone:
            self._file.save(dict(elsewhere))

    def _check(self, proxy: Proxy, directory: Path) -> None:
        top = os.path.realpath(self._top)
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
