"""CA certificates from a file or a directory."""

import os
from pathlib import Path

import pytest

from consul_ebpf.base.authorities import look, read
from consul_ebpf.base.reading import FileError
from tests.lab.certificates import Authority

ONE, TWO = Authority(), Authority("ed25519")
ISSUED = ONE.issue()


def test_fault_122_a_directory_gives_certificates_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Keys, FIFOs, directories and texts beside them are left out, with a word."""
    (tmp_path / "a.crt").write_text(ONE.pem)
    (tmp_path / "b.pem").write_text(f"{TWO.pem}{ISSUED.key}")
    (tmp_path / "a-key.pem").write_text(ISSUED.key)
    (tmp_path / "again").symlink_to("a.crt")
    (tmp_path / "README").write_text("Bitte lesen: Schlüssel")
    (tmp_path / ".hidden.pem").write_text("half a -----BEGIN CERTIFICATE-----")
    (tmp_path / "..data").mkdir()
    (tmp_path / "old").mkdir()
    os.mkfifo(tmp_path / "fifo.pem")
    other = ONE.pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE")
    (tmp_path / "bundle.trust.crt").write_text(other)
    (tmp_path / "gone.pem").symlink_to("nowhere")
    found = read(str(tmp_path))
    assert ONE.pem + TWO.pem == found.pem
    assert look(str(tmp_path)) == found.seen
    names = {line.partition(":")[0].rpartition("/")[2] for line in found.skipped}
    expected = {"README", "a-key.pem", "bundle.trust.crt", "fifo.pem", "gone.pem"}
    assert expected == names
    with pytest.raises(FileError, match="holds a TRUSTED CERTIFICATE"):
        read(str(tmp_path / "bundle.trust.crt"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not PEM certificates: it is empty"),
        ("\n \n", "it is empty"),
        ("nonsense", "not PEM certificates"),
        (ISSUED.key, "not PEM certificates, but PRIVATE KEY"),
        (ONE.pem[:200], "is cut off"),
    ],
    ids=["empty", "blank", "text", "key", "half"],
)
def test_fault_121_no_certificate_is_an_error(
    tmp_path: Path, content: str, said: str
) -> None:
    """Of a file and of a directory; never an empty list."""
    file = tmp_path / "ca.pem"
    file.write_text(content)
    for path in (file, tmp_path):
        with pytest.raises(FileError, match=said):
            read(str(path))
    file.unlink()
    with pytest.raises(FileError, match="No such file"):
        read(str(file))
    with pytest.raises(FileError, match="no file in it holds"):
        read(str(tmp_path))


def test_what_gave_certificates_must_give_some_while_it_is_there(
    tmp_path: Path,
) -> None:
    """One of a directory's files, emptied for a moment, is no CA less."""
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.write_text(ONE.pem)
    two.write_text(TWO.pem)
    gave = read(str(tmp_path)).gave
    two.write_text("")
    with pytest.raises(FileError, match=r"two.pem: not PEM certificates"):
        read(str(tmp_path), gave)
    two.unlink()
    assert ONE.pem == read(str(tmp_path), gave).pem


def test_limits(tmp_path: Path) -> None:
    """Of a file's size, and of their number in a directory."""
    (tmp_path / "ca.pem").write_text(ONE.pem)
    with (tmp_path / "big.pem").open("wb") as big:
        big.truncate(100_000_000)
    assert ONE.pem == read(str(tmp_path)).pem
    with pytest.raises(FileError, match="is larger"):
        read(str(tmp_path / "big.pem"))
    with pytest.raises(FileError, match="is a device"):
        read("/dev/zero")
    for number in range(1000):
        (tmp_path / f"{number}").touch()
    with pytest.raises(FileError, match="more than 1000 files"):
        read(str(tmp_path))
