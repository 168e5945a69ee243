"""CA certificates from a file, or from a directory of files. Blocking."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from consul_ebpf.base.pem import OtherFormError, certificates, no_certificate
from consul_ebpf.base.reading import FileError, Fingerprint, fingerprint, read_file

MAX_FILE = 4 * 1024 * 1024
"""Bytes of one file; every root that the world trusts is a quarter of a megabyte."""

MAX_FILES = 1000
"""In a directory. With all of the world's roots in files of their own it has 300."""

Seen = tuple[tuple[str, Fingerprint | str], ...]
"""Each file with its fingerprint, or the reason it has none. A change: read again."""


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CA certificates found in a file or a directory."""

    pem: str
    """The certificates as PEM, encoded again, each once; never empty."""
    seen: Seen
    gave: frozenset[str]
    """Names of the files that hold certificates."""
    skipped: tuple[str, ...] = ()
    """A line for each entry of a directory without certificates, such as key files."""


def look(ca_certs: str) -> Seen:
    """Return what changes when the certificates may have, without reading them.

    Raises:
        FileError: nothing is there, or it cannot be looked at.
    """
    path = Path(ca_certs)
    if not path.is_dir():
        return ((ca_certs, fingerprint(path)),)
    return tuple((str(each), _fingerprint(each)) for each in _entries(path))


def read(ca_certs: str, gave: frozenset[str] = frozenset()) -> Authorities:
    """Read the certificates.

    In a directory, files without certificates are skipped, because people keep keys
    beside them. But a file in `gave` held certificates before: without them it may be
    half written, and is refused.

    Raises:
        FileError: there is no certificate, or one is cut off or damaged.
    """
    path = Path(ca_certs)
    if not path.is_dir():
        content = read_file(path, MAX_FILE)
        found = _certificates(path, content.data)
        if not found:
            raise FileError(path, no_certificate(content.data))
        seen = ((ca_certs, content.fingerprint),)
        return Authorities("".join(found), seen, frozenset({ca_certs}))
    return _read_directory(path, gave)


def _read_directory(path: Path, gave: frozenset[str]) -> Authorities:
    all_found: dict[str, None] = {}
    seen: list[tuple[str, Fingerprint | str]] = []
    gives, skipped = set(), []
    for each in _entries(path):
        try:
            content = read_file(each, MAX_FILE)
            found = _certificates(each, content.data)
            if not found:
                raise FileError(each, no_certificate(content.data))  # noqa: TRY301
        except _DamagedError:
            raise
        except FileError as error:
            if str(each) in gave:
                raise
            seen.append((str(each), _fingerprint(each)))
            skipped.append(str(error))
            continue
        seen.append((str(each), content.fingerprint))
        gives.add(str(each))
        all_found.update(dict.fromkeys(found))
    if not all_found:
        why = f": {skipped[0]}" if skipped else ""
        raise FileError(path, f"no file in it holds PEM certificates{why}")
    return Authorities("".join(all_found), tuple(seen), frozenset(gives), (*skipped,))


class _DamagedError(FileError):
    """A certificate is cut off or damaged. Such a file is never skipped."""


def _certificates(path: Path, data: bytes) -> list[str]:
    try:
        return certificates(data)
    except OtherFormError as error:
        raise FileError(path, str(error)) from None
    except ValueError as error:
        raise _DamagedError(path, str(error)) from None


def _fingerprint(path: Path) -> Fingerprint | str:
    try:
        return fingerprint(path)
    except FileError as error:
        return error.why


def _entries(directory: Path) -> list[Path]:
    """Return the entries of a directory, sorted by name, without subdirectories.

    A volume of Kubernetes has links to the files in `..data`, and that directory too.
    """
    try:
        names = os.listdir(directory)  # noqa: PTH208  # names are all that is needed
    except OSError as error:
        raise FileError(directory, error.strerror or str(error)) from error
    paths = [directory / name for name in sorted(names) if not name.startswith(".")]
    found = [path for path in paths if not _is_directory(path)]
    if len(found) > MAX_FILES:
        raise FileError(directory, f"holds more than {MAX_FILES} files")
    return found


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False
