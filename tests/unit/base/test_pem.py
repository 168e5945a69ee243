"""PEM files as people have them."""

import ssl

import pytest

from consul_ebpf.base.pem import certificates, private_key
from tests.lab.certificates import Authority

ONE, TWO = Authority(), Authority("ed25519")
ISSUED = ONE.issue()
A, B = ONE.pem, TWO.pem


def unnamed(_: object) -> str:
    """Keep the certificates, new ones in each process, out of the tests' names."""
    return ""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (A.encode(), [A]),
        (f"{A}{B}{A}".encode(), [A, B]),
        (f"\ufeff{A}{B}".encode(), [A, B]),
        (f"# Ačțalis Ñeť Lock Arany\n{A}\n# Főtanúsítvány\n{B}".encode(), [A, B]),
        ("# Autorité é\n".encode("latin-1") + A.encode(), [A]),
        (A.replace("\n", "\r\n").encode(), [A]),
        (A.replace("\n", "\r").encode(), [A]),
        (A.replace("\n", " \t\n").encode(), [A]),
        (A.rstrip("\n").encode(), [A]),
        (f"Certificate:\n    Data:\n\x00\x1b[2J\n{A}trailing".encode(), [A]),
        (f"# -----BEGIN CERTIFICATE-----\n{A}".encode(), [A]),
        (A.replace("CERTIFICATE", "X509 CERTIFICATE").encode(), [A]),
        (A.replace("E-----\n", "E-----\nX-Note: a\n\n", 1).encode(), [A]),
        (f"{ISSUED.key}{A}{ISSUED.key}".encode(), [A]),
        (b"", []),
        (b"nonsense", []),
        (A.encode("utf-16"), []),
        (ISSUED.key.encode(), []),
    ],
    ids=unnamed,
)
def test_fault_127_only_what_is_between_begin_and_end_counts(
    data: bytes, expected: list[str]
) -> None:
    """Comments, byte order marks, line ends, other blocks and duplicates do not."""
    assert expected == certificates(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (A[: len(A) // 2], "is cut off"),
        (A + B[: len(B) // 2], "is cut off"),
        (A[: len(A) // 2] + B, "1 is damaged"),
        (A[: len(A) // 2] + "\n" + B, "is cut off"),
        (A.replace("\n", ""), "is cut off"),
        (A.replace("-----END CERTIFICATE-----", "-----END CERTIFI"), "is cut off"),
        (A + ISSUED.key[: len(ISSUED.key) // 2], "a PRIVATE KEY begins"),
        ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "1 is damaged"),
        (A + B.replace("MII", "!II").replace("MIH", "!IH"), "2 is damaged"),
        (A.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "TRUSTED CERTIFICATE"),
    ],
    ids=unnamed,
)
def test_a_part_is_never_taken_for_the_whole(data: str, said: str) -> None:
    """A file that is half written, and a form whose meaning would be lost."""
    with pytest.raises(ValueError, match=said):
        certificates(data.encode())


def test_fault_121_any_cut_of_a_bundle_is_seen_or_ends_between_certificates() -> None:
    """What can be read is a beginning of the whole, never half of a certificate."""
    data = f"# One\n{A}# Two\n{B}".encode()
    for length in range(len(data)):
        try:
            found = certificates(data[:length])
        except ValueError:
            continue
        assert found in ([], [A], [A, B])


def test_fault_122_a_key_goes_alone() -> None:
    """What stands beside it, certificates and parameters, does not go along."""
    parameters = "-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n"
    text = f"\ufeffé\r\n{ISSUED.cert}{parameters}{ISSUED.key}{TWO.issue().key}"
    assert ISSUED.key == private_key(text.encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "no private key: it is empty"),
        (ISSUED.cert, "no private key, but CERTIFICATE"),
        (ISSUED.key[:-8], "is cut off"),
        (ISSUED.key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted"),
        (
            ISSUED.key.replace("Y-----\n", "Y-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
            "is encrypted",
        ),
    ],
    ids=unnamed,
)
def test_a_key_that_cannot_be_used(data: str, said: str) -> None:
    """Said without a byte of it."""
    with pytest.raises(ValueError, match=said) as caught:
        private_key(data.encode())
    assert ISSUED.key.splitlines()[1] not in str(caught.value)


def test_the_systems_own_bundle_is_read_as_openssl_reads_it() -> None:
    """Whatever comments the distribution writes into it."""
    file = ssl.get_default_verify_paths().cafile
    if file is None:
        pytest.skip("no bundle of the system's here")
    with open(file, "rb") as bundle:  # noqa: PTH123
        found = certificates(bundle.read())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    assert context.cert_store_stats()["x509"] == len(found)
