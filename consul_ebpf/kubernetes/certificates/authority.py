"""The webhook's CA and certificate: what of them is due now. Pure.

The replicas share them by one Secret. What is to be done follows from the certificates
themselves, so any replica decides the same and none of them remembers anything.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from consul_ebpf.base.pem import certificates
from consul_ebpf.kubernetes.certificates.issuing import (
    Certificate,
    Issued,
    new_authority,
    new_certificate,
)

AUTHORITY_LIFE = dt.timedelta(days=3650)
AUTHORITY_SPARE = dt.timedelta(days=180)
"""A CA that ends sooner gets a successor. It is longer than a certificate's life."""

CERTIFICATE_LIFE = dt.timedelta(days=90)
CERTIFICATE_SPARE = CERTIFICATE_LIFE / 3
"""A certificate that ends sooner is replaced."""

HANDOVER = dt.timedelta(days=1)
"""A new CA is trusted for this long before it signs, so that every API server knows it,
and the one before it for this long after that."""

MAX_BYTES = 64 * 1024
"""Most bytes of one entry of the Secret. Each has some hundreds."""

ENTRIES = ("ca.crt", "ca.key", "tls.crt", "tls.key")
"""The Secret's keys, in the order of `Material`'s fields."""


@dataclass(frozen=True, slots=True)
class Material:
    """A CA, and a certificate that API servers can verify; all PEM."""

    authorities: tuple[str, ...]
    """The CAs to be trusted; the first one signs."""
    authority_key: str = field(repr=False)
    certificate: str
    key: str = field(repr=False)

    @property
    def bundle(self) -> str:
        """What API servers are to trust: the `caBundle`."""
        return "".join(self.authorities)


def as_data(material: Material) -> dict[str, bytes]:
    """Return the Secret's data."""
    values = (
        material.bundle,
        material.authority_key,
        material.certificate,
        material.key,
    )
    return dict(zip(ENTRIES, (value.encode() for value in values), strict=True))


def material_in(data: Mapping[str, bytes]) -> Material | None:
    """Read a Secret's data; None if there is none yet.

    Raises:
        ValueError: it is not what `as_data` makes. The message quotes none of it.
    """
    entries = [data.get(name, b"") for name in ENTRIES]
    if not any(entries):
        return None
    try:
        material = _material(entries)
    except Exception:  # noqa: BLE001  # whatever it raises, it may quote a key
        material = None
    if material is None:
        raise ValueError("holds no CA and certificate with their keys")
    return material


def _material(entries: Sequence[bytes]) -> Material | None:
    if max(map(len, entries)) > MAX_BYTES:
        return None
    bundle, authority_key, certificate, key = (each.decode("ascii") for each in entries)
    authorities = tuple(certificates(bundle.encode()))
    signer, *_ = [Certificate(pem) for pem in authorities]
    whole = signer.belongs_to(authority_key) and Certificate(certificate).belongs_to(
        key
    )
    return Material(authorities, authority_key, certificate, key) if whole else None


def due(found: Material | None, names: Sequence[str], now: dt.datetime) -> Material:
    """Return what there should be: `found` itself while nothing of it is due.

    Args:
        found: what there is.
        names: what the API server calls the webhook by.
        now: the time, with its zone.
    """
    if found is None or Certificate(found.authorities[0]).end <= now:
        authority = new_authority(now, AUTHORITY_LIFE)
        first = Material((authority.certificate,), authority.key, "", "")
        return _with_certificate(first, names, now)
    material = _with_authorities(found, now)
    authorities = [Certificate(pem) for pem in material.authorities]
    leaf = Certificate(material.certificate)
    issuers = [each.issued(leaf) for each in authorities]
    handed_over = not issuers[0] and now - authorities[0].made >= HANDOVER
    late = leaf.end - now < CERTIFICATE_SPARE
    if not any(issuers) or handed_over or late or leaf.names != list(names):
        return _with_certificate(material, names, now)
    return material


def _with_authorities(found: Material, now: dt.datetime) -> Material:
    """Add a CA where the newest ends soon; leave out the old ones after a while."""
    newest = Certificate(found.authorities[0])
    if newest.end - now < AUTHORITY_SPARE:
        new = new_authority(now, AUTHORITY_LIFE)
        both = (new.certificate, found.authorities[0])
        return replace(found, authorities=both, authority_key=new.key)
    if len(found.authorities) > 1 and now - newest.made >= 2 * HANDOVER:
        return replace(found, authorities=found.authorities[:1])
    return found


def _with_certificate(
    material: Material, names: Sequence[str], now: dt.datetime
) -> Material:
    """Replace the certificate by one that the first CA signed."""
    authority = Issued(material.authorities[0], material.authority_key)
    new = new_certificate(authority, names, now, CERTIFICATE_LIFE)
    return replace(material, certificate=new.certificate, key=new.key)
