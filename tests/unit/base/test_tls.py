"""Files that change, and files that cannot be used."""

from pathlib import Path

import pytest

from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.model.errors import ConfigError
from tests.lab.certificates import Authority

ONE, TWO = Authority(), Authority("ed25519")


def test_a_directory_is_all_its_certificates(tmp_path: Path) -> None:
    """As in Consul: every *.pem and *.crt; Kubernetes' own files are left alone."""
    (tmp_path / "b.pem").write_text(TWO.pem)
    (tmp_path / "a.crt").write_text(ONE.pem)
    (tmp_path / "readme").write_text("no certificate")
    (tmp_path / "..data").mkdir()
    files = TlsFiles(ca_certs=str(tmp_path))
    assert files.material().ca == ONE.pem + TWO.pem
    assert len(files.context().get_ca_certs()) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pem", None, "none.pem: No such file"),
        ("bad.pem", "nonsense", "bad.pem: not PEM certificates"),
        ("bad.pem", "\xe4", "bad.pem: not PEM"),
    ],
)
def test_what_cannot_be_used_at_the_start_is_refused(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    """By its name; nothing is ever sent unverified instead."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said):
        TlsFiles(ca_certs=str(tmp_path / name)).material()
    with pytest.raises(ConfigError, match=r"no \*.pem"):
        TlsFiles(ca_certs=str(empty(tmp_path))).context()


def empty(directory: Path) -> Path:
    (directory / "empty").mkdir()
    return directory / "empty"


def test_a_change_is_in_the_next_context_and_damage_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good ones stay, and that is said once."""
    file = tmp_path / "ca.pem"
    file.write_text(ONE.pem)
    files = TlsFiles(ca_certs=str(file))
    first = files.context()
    assert files.context() is first
    file.write_text(TWO.pem)
    second = files.context()
    assert second is not first
    file.write_text("half")
    assert files.context() is second
    assert files.material().ca == TWO.pem
    file.unlink()
    assert files.context() is second
    told = [r.getMessage() for r in caplog.records if "keeping" in r.getMessage()]
    assert len(told) == 2
    file.write_text(ONE.pem)
    assert files.material().ca == ONE.pem


def test_a_certificate_and_its_key_belong_together(tmp_path: Path) -> None:
    """Half of a rotation is not used; the key may be in the certificate's file."""
    old, new = ONE.issue(), ONE.issue()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(old.cert)
    key.write_text(old.key)
    files = TlsFiles(cert=str(cert), key=str(key))
    assert files.material().cert == old.cert
    cert.write_text(new.cert)
    assert files.material().cert == old.cert
    key.write_text(new.key)
    assert files.material().cert == new.cert
    assert "PRIVATE" not in repr(files.material()) + repr(files)
    both = tmp_path / "both.pem"
    both.write_text(new.cert + new.key)
    TlsFiles(cert=str(both)).context()
    key.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"certificate .*cert.pem with key .*key.pem"):
        TlsFiles(cert=str(cert), key=str(key)).context()
