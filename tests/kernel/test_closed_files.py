"""Files that only the helper may read: by the same rules as anybody's."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consul_ebpf.base.reading import FileError, fingerprint, read_file
from consul_ebpf.kernel.closed_files import ClosedFiles
from consul_ebpf.kernel.helper import Helper
from tests.lab.no_files import fifo, huge, zero

pytestmark = pytest.mark.kernel

NOBODY = 65534


class OnlyHelper(ClosedFiles):
    """Asks the helper for everything, as if nothing could be read here."""

    def fingerprint(self, path: str | Path) -> tuple[int, ...]:
        return tuple(self._ask("fingerprint", path)["fingerprint"])

    def read(self, path: str | Path, limit: int) -> bytes:  # type: ignore[override]
        return b"%d" % len(self._ask("read", path, limit)["data"])


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    made = Helper.start({"dac_read_search"})
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jwt"
    path.write_text("a.b.c")
    path.chmod(0o600)
    os.chown(path, NOBODY, NOBODY)
    return path


def test_what_the_helper_reads_is_what_there_is(helper: Helper, path: Path) -> None:
    """Content and fingerprint, of a name in any bytes too."""
    strange = path.with_name("j\udcff\n t")
    path.rename(strange)
    reader = ClosedFiles(helper)
    asked = reader._ask("read", strange, 100)
    assert tuple(asked["fingerprint"]) == fingerprint(strange)
    assert asked["data"] == "YS5iLmM="
    assert reader.read(strange, 100) == read_file(strange, 100)


def _nothing(_: Path) -> None:
    pass


def _anothers(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text("root's")
    secret.chmod(0o600)
    path.symlink_to(secret)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.mark.parametrize("make", [fifo, zero, huge, _nothing, _anothers])
def test_fault_93_the_helper_refuses_what_the_reader_refuses(
    helper: Helper, path: Path, make: Callable[[Path], None]
) -> None:
    """The same words, at once: no FIFO, no device, no other's link, nothing endless."""
    path.unlink()
    make(path)
    with pytest.raises(FileError) as here:
        read_file(path, 1000)
    begun = time.monotonic()
    with pytest.raises(FileError) as there:
        OnlyHelper(helper).read(path, 1000)
    assert time.monotonic() - begun < 2
    assert str(there.value) == str(here.value)
    assert there.value.missing == here.value.missing


def test_a_helper_that_may_not_either_says_what_it_lacks(path: Path) -> None:
    """By the capability's name."""
    helper = Helper.start(())
    try:
        with pytest.raises(FileError, match="denied: grant CAP_DAC_READ_SEARCH"):
            OnlyHelper(helper).read(path, 100)
    finally:
        helper.close()


_WITHOUT = """
import sys
from consul_ebpf.base.reading import FileError
from consul_ebpf.kernel import capabilities
from consul_ebpf.kernel.closed_files import ClosedFiles
from consul_ebpf.kernel.helper import Helper

helper = Helper.start({"dac_read_search"})
capabilities.keep_only(())
reader = ClosedFiles(helper)
try:
    open(sys.argv[1])
except PermissionError:
    print("closed")
content = reader.read(sys.argv[1], 100)
print(content.data.decode(), reader.fingerprint(sys.argv[1]) == content.fingerprint)
helper.close()
try:
    reader.read(sys.argv[1], 100)
except FileError as error:
    print(error)
"""


@pytest.mark.parametrize("directory", [0o755, 0o700])
def test_without_a_capability_the_helper_is_asked(path: Path, directory: int) -> None:
    """Also where the directory is closed; a helper that has ended is said."""
    path.parent.chmod(directory)
    os.chown(path.parent, NOBODY, NOBODY)
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT, path],
        capture_output=True,
        text=True,
        check=False,
    )
    closed, read, error = ended.stdout.splitlines()
    assert closed == "closed", ended.stderr
    assert read == "a.b.c True"
    assert error.startswith(f"{path}: the privileged helper has ended")
