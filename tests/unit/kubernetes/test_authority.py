"""When the webhook's CA and certificate are due."""

import datetime as dt

import pytest

from consul_ebpf.kubernetes.certificates.authority import (
    AUTHORITY_LIFE,
    ENTRIES,
    Material,
    as_data,
    due,
    material_in,
)
from consul_ebpf.kubernetes.certificates.issuing import Certificate

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAMES = ("hook.consul.svc", "hook.consul.svc.cluster.local")


def verified(material: Material) -> None:
    """Check that what API servers trust has signed what is served."""
    leaf = Certificate(material.certificate)
    assert any(Certificate(each).issued(leaf) for each in material.authorities)
    assert leaf.belongs_to(material.key)
    assert Certificate(material.authorities[0]).belongs_to(material.authority_key)
    assert leaf.names == list(NAMES)


def test_the_first_ones() -> None:
    """A CA for ten years and a certificate for 90 days, and nothing is due then."""
    first = due(None, NAMES, NOW)
    verified(first)
    (authority,) = first.authorities
    assert Certificate(authority).end == NOW + 3650 * DAY
    assert Certificate(first.certificate).end == NOW + 90 * DAY
    assert due(first, NAMES, NOW) is first
    assert due(first, NAMES, NOW + 59 * DAY) is first
    assert "PRIVATE" not in repr(first)


def test_a_certificate_with_a_third_of_its_life_is_replaced() -> None:
    """By one of the same CA, so nobody has to trust anything new."""
    first = due(None, NAMES, NOW)
    later = NOW + 61 * DAY
    second = due(first, NAMES, later)
    verified(second)
    assert second.bundle == first.bundle
    assert Certificate(second.certificate).end == later + 90 * DAY


def test_other_names_need_another_certificate() -> None:
    """A Service that was renamed."""
    first = due(None, ("old.consul.svc",), NOW)
    second = due(first, NAMES, NOW)
    verified(second)
    assert second.authorities == first.authorities


def test_a_new_authority_is_trusted_before_it_signs() -> None:
    """A day before, and the one before it a day longer; each step once."""
    first = due(due(None, NAMES, NOW), NAMES, NOW)
    end = NOW + AUTHORITY_LIFE
    now = end - 179 * DAY
    fresh = due(first, NAMES, end - 181 * DAY)
    assert fresh.authorities == first.authorities

    both = due(fresh, NAMES, now)
    verified(both)
    assert both.certificate == fresh.certificate
    assert both.authorities[1:] == first.authorities
    assert due(both, NAMES, now + 0.9 * DAY) is both

    signed = due(both, NAMES, now + 1.1 * DAY)
    verified(signed)
    assert signed.authorities == both.authorities
    newest, _ = map(Certificate, signed.authorities)
    assert newest.issued(Certificate(signed.certificate))
    assert due(signed, NAMES, now + 1.9 * DAY) is signed

    alone = due(signed, NAMES, now + 2.1 * DAY)
    verified(alone)
    assert alone.authorities == signed.authorities[:1]
    assert alone.certificate == signed.certificate


def test_an_authority_that_ended_is_replaced_at_once() -> None:
    """Nobody looked for ten years."""
    first = due(None, NAMES, NOW)
    second = due(first, NAMES, NOW + AUTHORITY_LIFE)
    verified(second)
    assert len(second.authorities) == 1
    assert second.authorities != first.authorities


def test_a_certificate_of_no_known_authority_is_replaced() -> None:
    """Somebody put another CA beside it."""
    one, other = due(None, NAMES, NOW), due(None, NAMES, NOW)
    mixed = {**as_data(one), **dict(list(as_data(other).items())[:2])}
    found = material_in(mixed)
    assert found is not None
    verified(due(found, NAMES, NOW))


def test_the_secret_holds_all_of_it() -> None:
    """What is written is what is read."""
    first = due(None, NAMES, NOW)
    assert material_in(as_data(first)) == first
    assert material_in({}) is None
    assert material_in({"ca.crt": b"", "other": b"x"}) is None


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("bad", [b"", b"x", b"\xff", b"x" * 70_000])
def test_a_damaged_secret_is_refused(entry: str, bad: bytes) -> None:
    """In words that quote none of it."""
    data = {**as_data(due(None, NAMES, NOW)), entry: bad}
    with pytest.raises(ValueError, match=r"^holds no CA and certificate with their"):
        material_in(data)


def test_keys_that_do_not_belong_are_refused() -> None:
    """Of another certificate, each by itself."""
    one, other = as_data(due(None, NAMES, NOW)), as_data(due(None, NAMES, NOW))
    for entry in ("ca.key", "tls.key"):
        with pytest.raises(ValueError, match="with their keys"):
            material_in({**one, entry: other[entry]})
