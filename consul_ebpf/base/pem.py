"""PEM files as people have them. Pure.

Only what stands between BEGIN and END counts; around it there may be text in any
encoding. A certificate is decoded and encoded again, so that a private key, or whatever
else stands beside it in the file, never goes along with it.
"""

import base64
import binascii
import re
import textwrap
from collections.abc import Iterator

CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE")
"""Kinds of blocks that hold a certificate; the second is how it was once called."""

TRUSTED = b"TRUSTED CERTIFICATE"
"""OpenSSL's own form. It adds what the certificate must not be used for, which neither
Envoy nor Consul would respect."""

KEY = b"PRIVATE KEY"
"""Ends the kinds of blocks that hold a private key."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_END = b"-----END %s-----"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Block = tuple[bytes, list[bytes]]
"""A block's kind and its lines between BEGIN and END."""


class OtherFormError(ValueError):
    """The certificates are whole, but in a form that is not accepted."""


def certificates(data: bytes) -> list[str]:
    """Return the certificates, each once, in their order; none if there are none.

    Raises:
        OtherFormError: one is a "TRUSTED CERTIFICATE".
        ValueError: one is cut off or damaged.
    """
    found: dict[str, None] = {}
    for kind, lines in _blocks(data):
        if kind == TRUSTED:
            raise OtherFormError(
                "holds a TRUSTED CERTIFICATE, a form only OpenSSL reads; write it as a"
                " CERTIFICATE: openssl x509 -in FILE -out FILE.pem"
            )
        if kind in CERTIFICATES:
            found[_certificate(lines, len(found) + 1)] = None
    return list(found)


def private_key(data: bytes) -> str:
    """Return the first private key; its text is as it was.

    Raises:
        ValueError: there is none, or it is cut off or encrypted.
    """
    for kind, lines in _blocks(data):
        if not kind.endswith(KEY):
            continue
        if kind.startswith(b"ENCRYPTED") or any(b"ENCRYPTED" in each for each in lines):
            raise ValueError(
                "the private key is encrypted; write it without a passphrase"
            )
        body = [line.decode("ascii", "replace") for line in lines]
        name = kind.decode("ascii")
        return "\n".join((f"-----BEGIN {name}-----", *body, f"-----END {name}-----\n"))
    raise ValueError(f"holds no private key{_instead(data)}")


def no_certificate(data: bytes) -> str:
    """Say what a file that holds no certificates holds instead."""
    return f"not PEM certificates{_instead(data)}"


def _instead(data: bytes) -> str:
    if not data.strip():
        return ": it is empty"
    if data.startswith(_UTF16):
        return ": it is UTF-16; save it as UTF-8"
    if data[:2] in {b"\x30\x82", b"\x30\x81"}:
        return ": it is DER; convert it: openssl x509 -inform DER -in FILE"
    kinds = sorted({kind.decode("ascii") for kind, _ in _blocks(data)})
    return f", but {', '.join(kinds)[:80]}" if kinds else ""


def _blocks(data: bytes) -> Iterator[Block]:
    """Yield each block.

    Raises:
        ValueError: one that was begun does not end.
    """
    kind: bytes | None = None
    lines: list[bytes] = []
    for raw in data.removeprefix(_BOM).splitlines():
        line = raw.strip()
        if line.startswith(b"-----BEGIN"):
            begin = _BEGIN.fullmatch(line)
            if kind is not None or begin is None:
                raise ValueError(_cut_off(kind or b"block"))
            kind, lines = begin[1], []
        elif kind is not None and line == _END % kind:
            yield kind, lines
            kind = None
        elif kind is not None:
            lines.append(line)
    if kind is not None:
        raise ValueError(_cut_off(kind))


def _cut_off(kind: bytes) -> str:
    return f"is cut off: a {kind.decode('ascii')} begins and does not end"


def _certificate(lines: list[bytes], number: int) -> str:
    """Decode a certificate and encode it again."""
    try:
        der = base64.b64decode(b"".join(_without_headers(lines)), validate=True)
    except binascii.Error:
        der = b""
    if len(der) < 2 or der[0] != 0x30:
        raise ValueError(f"its certificate {number} is damaged")
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def _without_headers(lines: list[bytes]) -> list[bytes]:
    """Leave out the headers that RFC 1421 allows before the first empty line."""
    if any(b":" in line for line in lines) and b"" in lines:
        return lines[lines.index(b"") + 1 :]
    return lines
