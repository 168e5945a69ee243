"""The files an Envoy is started from, in `<directory>/<proxy key>/` or `Proxy.files`.

The directories belong to the controller, and all users can see the files' names in
them. The files belong to `owner`, and nobody else can read them. A proxy may say
otherwise: see `ProxyFiles`.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from consul_ebpf.base.files import write_atomically
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.envoy.borrowed import Borrowed
from consul_ebpf.envoy.contents import ca_content, cert_content, token_content
from consul_ebpf.envoy.digests import Digests
from consul_ebpf.envoy.directories import (
    BOOTSTRAP,
    OURS,
    TLS_CA,
    TLS_CERT,
    TOKEN,
    is_directory,
    keys_in,
    make_directory,
    remove_files,
)
from consul_ebpf.envoy.holdings import DIGEST_BYTES, Holdings, Kind
from consul_ebpf.envoy.json_text import indented
from consul_ebpf.envoy.places import Places
from consul_ebpf.envoy.right_files import LOOK, LOOK_BYTES, RightFiles
from consul_ebpf.model.errors import ConsulEbpfError, InvalidProxyError
from consul_ebpf.model.names import check_proxy
from consul_ebpf.model.values import PlacedProxy, Proxy

log = logging.getLogger(__name__)


class BootstrapFiles:
    """Keeps each proxy's files on disk. Blocking; one writer at a time.

    Args:
        directory: where the proxies' directories are; it is made if missing.
        owner: (uid, gid) that the files belong to, unless a proxy names another owner;
            None: the process's own.
    """

    def __init__(
        self, directory: Path, *, owner: tuple[int, int] | None = None
    ) -> None:
        self._directory = directory
        self._owner = owner
        self._digests = Digests({**dict.fromkeys(OURS, DIGEST_BYTES), LOOK: LOOK_BYTES})
        self._holdings = Holdings(self._digests)
        self._places = Places(directory, BOOTSTRAP)
        self._borrowed = Borrowed()
        self.right = RightFiles(OURS, self._digests, self._places)
        """Whose files are as they should be; the caller says so once it wrote all."""

    @property
    def owner(self) -> tuple[int, int] | None:
        """Whose the files are; None: the process's own."""
        return self._owner

    def __repr__(self) -> str:
        return f"<BootstrapFiles {self._directory}>"

    def learn(self) -> None:
        """Read all files there are, before the controller gives up its privileges.

        Afterwards it cannot read another user's files. It would write each of them once
        more, and say that it changed.
        """
        for name in OURS:
            there = self._directory.glob(f"*/{name}")
            for path in (*there, *(d / name for d in self._places.elsewhere())):
                self._holdings.learn(str(path))

    def settle(self, proxies: Iterable[Proxy]) -> None:
        """Remember where the files of these proxies go, so that they can be removed.

        `write` does so for its proxy; to call this for all of them first saves work.
        """
        with contextlib.suppress(InvalidProxyError):  # `write` raises it, too
            self._places.settle(proxies)

    def bootstrap_path(self, proxy: Proxy) -> Path:
        """Where `write` puts the proxy's bootstrap."""
        return self._places.of(proxy) / BOOTSTRAP

    def bootstrap_left_for(self, key: str) -> Path:
        """Where the controller left a proxy's bootstrap; it may not be there."""
        return self._places.left_for(key) / BOOTSTRAP

    def token_path(self, proxy: Proxy) -> Path:
        """Where `write_token` puts the proxy's token: `EnvoyBootstrap`'s token_file."""
        return self._places.of(proxy) / TOKEN

    def tls_ca_path(self, proxy: Proxy) -> Path:
        """Where `write_tls` puts the CA certificates: `XdsTls`'s ca_file."""
        return self._places.of(proxy) / TLS_CA

    def tls_cert_path(self, proxy: Proxy) -> Path:
        """Where `write_tls` puts the client certificate: `XdsTls`'s cert_file."""
        return self._places.of(proxy) / TLS_CERT

    def write(self, placed: PlacedProxy, bootstrap: Mapping[str, Any]) -> Path | None:
        """Write the proxy's bootstrap; return its path, None: it is there already.

        Raises:
            ConsulEbpfError: it could not be written; what was there stays.
            NotThereError: the directory that somebody else makes is not there.
            InvalidProxyError: the proxy's key cannot be a directory's name.
        """
        return self._write(placed.proxy, BOOTSTRAP, indented(bootstrap))

    def write_token(self, proxy: Proxy, token: str) -> Path | None:
        """Write the proxy's ACL token; return its path, None: it is there already.

        Envoy takes up a new token by itself. The first one must be there before Envoy
        starts, so write it before the bootstrap. Raises what `write` raises.
        """
        return self._write(proxy, TOKEN, token_content(token))

    def write_tls(self, proxy: Proxy, tls: TlsMaterial | None) -> None:
        """Write the proxy's certificates; what `tls` has none of is removed.

        Envoy takes up new ones by itself. Raises what `write` raises.
        """
        ca = ca_content(tls.ca) if tls and tls.ca else None
        cert = cert_content(tls.cert, tls.key) if tls and tls.cert else None
        for name, data in ((TLS_CA, ca), (TLS_CERT, cert)):
            if data is not None:
                self._write(proxy, name, data)
            else:
                self._unlink(proxy, name)

    def _unlink(self, proxy: Proxy, name: str) -> None:
        path = f"{self._place(proxy)}/{name}"
        try:
            os.unlink(path)  # noqa: PTH108  # for every proxy: a Path costs more
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ConsulEbpfError(
                f"cannot remove {path!r}: {error.strerror}"
            ) from error

    def remove(self, key: str) -> bool:
        """Remove the proxy's files, wherever they are.

        Files that are not ours stay, and so does a directory that holds some.

        Returns:
            Whether there were any files of ours.

        Raises:
            ConsulEbpfError: a file of ours could not be removed.
            InvalidProxyError: no proxy can have that key.
        """
        check_proxy(Proxy(id="", node="", key=key))
        others = [each for each, of in self._places.elsewhere().items() if of == key]
        removed = [self._remove(each) for each in (self._directory / key, *others)]
        self._places.forget(others)
        return any(removed)

    def prune(self, keep: Collection[str]) -> list[str]:
        """Remove the files of all proxies but those with the keys in `keep`.

        In the bootstraps' directory, the files of an earlier controller are removed,
        too; elsewhere, those in directories that are remembered.

        Returns:
            The keys of the proxies whose files were removed, sorted.

        Raises:
            ConsulEbpfError: a file could not be looked for or removed. All those that
                could be removed are.
        """
        places = self._places
        places.keep_only(keep)
        self._digests.keep_only(places.in_use(keep))
        self._borrowed.keep_only(places.in_use(keep))
        here = {
            self._directory / key: key
            for key in keys_in(self._directory)
            if not (key in keep and places.are_here(key))
        }
        removed, gone, failed = set(), [], []
        for path, key in (here | places.elsewhere()).items():
            if places.is_used(path, key, keep):
                continue
            try:
                if self._remove(path):
                    removed.add(key)
                gone.append(path)
            except ConsulEbpfError as error:
                failed.append(str(error))
        places.forget(gone)
        if failed:
            raise ConsulEbpfError("; ".join(sorted(failed)))
        return sorted(removed)

    def _remove(self, directory: Path) -> bool:
        return remove_files(directory, stays=self._places.stays(directory))

    def _kind(self, proxy: Proxy) -> Kind:
        """Return whose a proxy's files are, and who may read them."""
        if proxy.files is None:
            return Kind(self._owner)
        return Kind(proxy.files.owner or self._owner, proxy.files.mode)

    def _place(self, proxy: Proxy) -> Path:
        """Return the directory of a proxy's files, checked and remembered."""
        check_proxy(proxy)
        self._places.check(proxy)
        self._places.settle([proxy])
        return self._places.of(proxy)

    def _write(self, proxy: Proxy, name: str, data: bytes) -> Path | None:
        directory, kind = self._place(proxy), self._kind(proxy)
        check = None
        if proxy.files is not None and proxy.files.exists_already:
            self._borrowed.check_path(directory)
            check = functools.partial(self._borrowed.check, directory)
        elif not is_directory(directory):
            make_directory(directory, self._directory)
        path = directory / name
        if self._holdings.holds(str(path), data, kind):
            return None
        try:
            write_atomically(path, data, mode=kind.mode, owner=kind.owner, check=check)
        except ConsulEbpfError:
            if check is not None:  # it may have gone meanwhile
                self._borrowed.check_path(directory)
            raise
        self._holdings.wrote(str(path), data, kind)
        log.info("wrote %s", path)
        return path
