"""X.509 certificates with ECDSA P-256 keys: how they are made and read. Pure.

Needs `cryptography`, which the extra `consul-ebpf[webhook]` installs.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = dt.timedelta(hours=1)
"""Certificates begin this long before they are made, for clocks that are behind."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, PEM."""

    certificate: str
    key: str = field(repr=False)


class Certificate:
    """What a PEM certificate says.

    Raises:
        ValueError: it is no certificate.
        TypeError: its key is not an elliptic curve's.
    """

    def __init__(self, pem: str) -> None:
        self.x509 = x509.load_pem_x509_certificate(pem.encode())
        self._public = _public(self.x509)

    def __repr__(self) -> str:
        return f"<Certificate of {self.x509.subject.rfc4514_string()}>"

    @property
    def made(self) -> dt.datetime:
        """When it was made."""
        return _utc(self.x509, "not_valid_before") + BACKDATED

    @property
    def end(self) -> dt.datetime:
        """When it ends."""
        return _utc(self.x509, "not_valid_after")

    @property
    def names(self) -> list[str]:
        """Its alternative names; none where it has no such extension."""
        extensions = self.x509.extensions
        try:
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return []
        return names.value.get_values_for_type(x509.DNSName)

    def belongs_to(self, key: str) -> bool:
        """Whether a private key is this certificate's."""
        own = _private(key).public_key().public_numbers()
        return own == self._public.public_numbers()

    def issued(self, other: "Certificate") -> bool:
        """Whether another certificate was signed with this one's key."""
        leaf = other.x509
        if self.x509.subject != leaf.issuer:
            return False
        algorithm = ec.ECDSA(hashes.SHA256())
        try:
            self._public.verify(leaf.signature, leaf.tbs_certificate_bytes, algorithm)
        except InvalidSignature:
            return False
        return True


def new_authority(now: dt.datetime, life: dt.timedelta) -> Issued:
    """Make a CA that may sign certificates and no further CAs."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Each CA has another name: two of one name in a bundle would be mistaken.
    name = _name(f"consul-ebpf webhook CA {x509.random_serial_number() % 16**8:08x}")
    builder = _builder(name, name, key.public_key(), now, now + life)
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    builder = builder.add_extension(constraints, critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    return _issued(builder, key, key)


def new_certificate(
    authority: Issued, names: Sequence[str], now: dt.datetime, life: dt.timedelta
) -> Issued:
    """Make a server's certificate for DNS names; it ends with the CA at the latest."""
    signer = x509.load_pem_x509_certificate(authority.certificate.encode())
    end = min(now + life, _utc(signer, "not_valid_after"))
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(names[0][:64]), signer.subject, key.public_key(), now, end)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(signer))
    dns = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = builder.add_extension(by, critical=False)
    builder = builder.add_extension(dns, critical=False)
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    builder = builder.add_extension(constraints, critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = builder.add_extension(server, critical=False)
    return _issued(builder, key, _private(authority.key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    end: dt.datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
    )


def _issued(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
) -> Issued:
    pem = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Issued(pem.decode(), private.decode())


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _public(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("its key is not an elliptic curve's")
    return key


def _private(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the private key is not an elliptic curve's")
    return key


def _utc(certificate: x509.Certificate, name: str) -> dt.datetime:
    """Return one of a certificate's times; before version 42 they had no zone."""
    if hasattr(certificate, f"{name}_utc"):
        time: dt.datetime = getattr(certificate, f"{name}_utc")
        return time
    time = getattr(certificate, name)
    return time.replace(tzinfo=dt.UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
