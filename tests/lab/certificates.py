"""Certificate authorities of the tests' own."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Kind = Literal["rsa", "ecdsa", "ed25519"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

SERVER_NAMES = ("server.dc1.consul", "localhost", "127.0.0.1")
"""What is in a Consul server's certificate."""

NAME = ("server.dc1.consul", "127.0.0.1")
ADDRESSES = ("10.0.0.1", "fd00::5")
ADDRESSES_AS_NAMES = ("DNS:10.0.0.1", "DNS:fd00::5")
WILDCARD = ("*.dc1.consul",)
SUBJECT_ALONE = ()

FOUND: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (NAME, "server.dc1.consul", True),
    (NAME, "SERVER.dc1.consul", True),
    (NAME, "server.dc2.consul", False),
    (NAME, "10.0.0.1", False),
    (ADDRESSES, "10.0.0.1", True),
    (ADDRESSES, "10.0.0.2", False),
    (ADDRESSES, "fd00::5", True),
    (ADDRESSES, "fd00:0::5", True),
    (ADDRESSES, "server.dc1.consul", False),
    (ADDRESSES_AS_NAMES, "10.0.0.1", False),
    (ADDRESSES_AS_NAMES, "fd00::5", False),
    (WILDCARD, "server.dc1.consul", True),
    (WILDCARD, "a.server.dc1.consul", False),
    (SUBJECT_ALONE, "server.dc1.consul", False),
    (SUBJECT_ALONE, "10.0.0.1", False),
)
"""Alternative names of a certificate whose subject is the name that is looked for, that
name, and whether it is found: by the controller as by Envoy."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, PEM."""

    cert: str
    key: str


class Authority:
    """A CA with keys of one kind, good for an hour unless it is told otherwise."""

    def __init__(
        self,
        kind: Kind = "ecdsa",
        parent: "Authority | None" = None,
        lifetime: dt.timedelta = dt.timedelta(hours=1),
    ) -> None:
        """Make its key and its certificate, signed by its parent or by itself."""
        self._kind = kind
        self._lifetime = lifetime
        self._key = _new_key(kind)
        title = "test CA" if parent is None else "test intermediate CA"
        self._name = _name(f"consul-ebpf {title}, {kind}")
        signer = parent or self
        builder = _builder(self._name, self._key, signer, lifetime)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(_usage(ca=True), critical=True)
        self._certificate = builder.sign(signer._key, signer._hash)
        self.pem = _pem(self._certificate)

    def intermediate(self) -> "Authority":
        """Make a CA below this one, such as Vault's."""
        return Authority(self._kind, self, self._lifetime)

    @property
    def _hash(self) -> hashes.SHA256 | None:
        return None if self._kind == "ed25519" else hashes.SHA256()

    def issue(
        self,
        names: Sequence[str] = SERVER_NAMES,
        *,
        expired: bool = False,
        subject: str | None = None,
    ) -> Issued:
        """Make a certificate for names and addresses, for servers and clients.

        `subject` is its common name, the first of the names if it is None; a name
        that begins with "DNS:" is one of DNS though it may look like an address.
        """
        key = _new_key(self._kind)
        common = _name(names[0] if subject is None else subject)
        lifetime = dt.timedelta(hours=-1) if expired else self._lifetime
        builder = _builder(common, key, self, lifetime)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]),
                critical=False,
            )
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(_usage(ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        certificate = builder.sign(self._key, self._hash)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Issued(_pem(certificate), pem.decode())


def _new_key(kind: Kind) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def _builder(
    subject: x509.Name, key: PrivateKey, signer: Authority, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    """Begin a certificate; its keys have identifiers, which Python 3.13 asks for."""
    now = dt.datetime.now(dt.UTC)
    mine, signers = key.public_key(), signer._key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer._name)
        .public_key(mine)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=2))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(mine), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signers), critical=False
        )
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    if name.startswith("DNS:"):
        return x509.DNSName(name.removeprefix("DNS:"))
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
