"""Files that change, and files that cannot be used."""

from pathlib import Path

import pytest

from consul_ebpf.base.tls import TlsFiles
from consul_ebpf.model.errors import ConfigError
from tests.lab.certificates import FOUND, Authority, Issued
from tests.lab.handshake import handshake

ONE, TWO = Authority(), Authority("ed25519")


def test_a_directory_is_all_its_certificates(tmp_path: Path) -> None:
    """As in Consul: every file; Kubernetes' own directories are left alone."""
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
        ("bad.pem", "\xe4", "bad.pem: not PEM certificates"),
        ("bad.pem", "", "bad.pem: not PEM certificates: it is empty"),
        ("bad.pem", ONE.pem[:300], "bad.pem: is cut off"),
    ],
    ids=["missing", "text", "latin", "empty", "half"],
)
def test_what_cannot_be_used_at_the_start_is_refused(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    """By its name; nothing is ever sent unverified instead."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said):
        TlsFiles(ca_certs=str(tmp_path / name)).material()
    with pytest.raises(ConfigError, match="no file in it holds PEM"):
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
    with pytest.raises(ConfigError, match=r"TLS file .*key.pem: holds no private key"):
        TlsFiles(cert=str(cert), key=str(key)).context()


@pytest.mark.parametrize(
    "half",
    ["", "\n", "half", ONE.pem[:100], ONE.issue().key],
    ids=["empty", "blank", "text", "half", "key"],
)
def test_fault_121_a_ca_file_without_a_whole_certificate_changes_nothing(
    tmp_path: Path, half: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the system's roots nor nobody is trusted instead; said once."""
    file = tmp_path / "ca.pem"
    file.write_text(ONE.pem)
    files = TlsFiles(ca_certs=str(file))
    context = files.context()
    file.write_text(half)
    for _ in range(3):
        assert ONE.pem == files.material().ca
        assert files.context() is context
    assert 1 == caplog.text.count("keeping the last good ones")
    file.write_text(TWO.pem)
    assert TWO.pem == files.material().ca
    assert 1 == len(files.context().get_ca_certs())


def test_fault_121_a_change_of_one_file_waits_for_all_to_be_good(
    tmp_path: Path,
) -> None:
    """A new CA does not come with the old certificate while the key is half written."""
    ca, pair = tmp_path / "ca.pem", tmp_path / "pair.pem"
    old, new = ONE.issue(), TWO.issue()
    ca.write_text(ONE.pem)
    pair.write_text(old.cert + old.key)
    files = TlsFiles(ca_certs=str(ca), cert=str(pair))
    before = files.material()
    ca.write_text(TWO.pem)
    pair.write_text(new.cert)
    assert before == files.material()
    pair.write_text(new.cert + new.key)
    assert (TWO.pem, new.cert, new.key) == (
        files.material().ca,
        files.material().cert,
        files.material().key,
    )


def test_fault_122_a_certificate_goes_without_its_key(tmp_path: Path) -> None:
    """With both in one file each is given where it belongs, and nothing else."""
    both, ca = tmp_path / "both.pem", tmp_path / "ca.pem"
    issued = ONE.issue()
    both.write_text(f"\ufeff# Schlüssel\n{issued.key}{issued.cert}")
    ca.write_text(f"{issued.key}# Näme\n{ONE.pem}")
    material = TlsFiles(ca_certs=str(ca), cert=str(both)).material()
    assert (ONE.pem, issued.cert, issued.key) == (
        material.ca,
        material.cert,
        material.key,
    )


def test_fault_120_an_intermediate_is_trusted_without_its_root(tmp_path: Path) -> None:
    """As Go and Envoy do; a stranger's is not, nor is its sibling's."""
    intermediate = ONE.intermediate()
    issued = intermediate.issue()
    ca = tmp_path / "ca.pem"
    ca.write_text(intermediate.pem)
    files = TlsFiles(ca_certs=str(ca))
    assert "" == handshake(files.context(), issued, "localhost", tmp_path)
    whole = Issued(issued.cert + intermediate.pem, issued.key)
    assert "" == handshake(files.context(), whole, "localhost", tmp_path)
    sibling = ONE.intermediate()
    theirs = sibling.issue()
    strange = Issued(theirs.cert + sibling.pem + ONE.pem, theirs.key)
    assert handshake(files.context(), strange, "localhost", tmp_path)
    assert handshake(files.context(), TWO.issue(), "localhost", tmp_path)


@pytest.mark.parametrize(("sans", "name", "expected"), FOUND)
def test_fault_123_which_names_are_found_in_a_certificate(
    tmp_path: Path, sans: tuple[str, ...], name: str, expected: bool
) -> None:
    """The same ones that a real Envoy finds: tests/e2e/test_tls_live.py."""
    issued = ONE.issue(sans, subject=name)
    (tmp_path / "ca.pem").write_text(ONE.pem)
    context = TlsFiles(ca_certs=str(tmp_path / "ca.pem")).context()
    why = handshake(context, issued, name, tmp_path)
    assert expected == (why == "")
