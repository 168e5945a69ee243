"""What an answer of Consul's HTTP API may be; anything else becomes a `ConsulError`.

An answer comes from the network. It may hold anything, in any size or depth, or never
come. No error repeats a secret.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import aiohttp

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.certificate import refused
from consul_ebpf.base.lines import one_line
from consul_ebpf.model.errors import ConfigError, ConsulError

MAX_BODY = 8 * 1024 * 1024
"""Most bytes of an answer, unpacked. A list of servers has some kilobytes."""

MAX_VALUES = 250_000
"""Most JSON values of an answer. Decoding more would block the event loop for over a
twentieth of a second, and no list that we need has so many."""

MAX_INDEX_DIGITS = 20
"""Consul's index is a 64-bit number."""

FILTERED = "X-Consul-Results-Filtered-By-ACLs"
"""The header that says "true" where the token may not see all there is."""

INDEX = "X-Consul-Index"

KNOWN_LEADER = "X-Consul-KnownLeader"
"""The header that says "false" where the server that answered knows no leader."""

MAX_RETRY_AFTER = 300.0
"""Most seconds that an answer can make us wait."""

SHOWN = 200
"""Most characters of Consul's message that an error repeats."""


@contextmanager
def as_consul_error(
    shown: str, total: float, named_by: Callable[[], str]
) -> Iterator[None]:
    """Make every failure of a request to `shown` a `ConsulError`, without any header.

    Args:
        shown: the address.
        total: seconds that the request had.
        named_by: returns the configuration keys that decide the name expected in the
            certificate.
    """
    at = f"Consul at {shown}"
    with boundary(ConsulError, at):
        try:
            yield
        except TimeoutError as error:
            raise ConsulError(f"{at}: no answer within {total:.0f} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            why = refused(error.certificate_error, named_by())  # type: ignore[arg-type]
            raise ConsulError(f"{at}: its certificate: {why}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConsulError(f"{at}: {_why(error)}") from error
        except ConfigError as error:  # TLS files: they may be mended
            raise ConsulError(f"{at}: {error}") from error


@contextmanager
def decoding(shown: str) -> Iterator[None]:
    """Make every failure to decode an answer from `shown` a `ConsulError`.

    The decoder's own message is left out, because it would quote the answer.
    """
    try:
        yield
    except ConsulError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer's fault
        raise ConsulError(
            f"Consul at {shown}: the answer is not the JSON it should be"
        ) from error.__cause__


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
    rb"|\\."
)


def repaired(body: bytes) -> bytes:
    r"""Replace lone surrogates in JSON (`"\ud800"`) by U+FFFD, as Go does.

    A text that holds one is not Unicode, and cannot be logged or written to a file.
    """
    if not _SURROGATE.search(body):
        return body
    return _ESCAPE.sub(
        lambda found: (
            b"\\ufffd"
            if len(found[0]) == 6 and _SURROGATE.match(found[0])
            else found[0]
        ),
        body,
    )


def check_size(shown: str, body: bytes) -> None:
    """Refuse JSON with more than `MAX_VALUES` values.

    Raises:
        ConsulError: it has more.
    """
    # Before each value but the first stands one of these. Counting those in texts, too,
    # does no harm.
    if sum(map(body.count, (b",", b"[", b"{", b":"))) > 2 * MAX_VALUES:
        raise ConsulError(
            f"Consul at {shown}: the answer holds more than {MAX_VALUES} values"
        )


def check_status(
    shown: str, status: int, headers: Mapping[str, str], body: bytes, secret: str | None
) -> None:
    """Refuse an answer whose status or headers mean that it cannot be used.

    Raises:
        ConsulError: with the HTTP status. It does not repeat `secret`.
    """
    if 300 <= status < 400:
        where = _hidden(headers.get("Location", "nowhere"), secret)
        raise ConsulError(
            f"Consul at {shown}: HTTP {status} redirects to {where};"
            " not followed, set http_addresses to Consul itself",
            status=status,
        )
    if status != 200:
        said = _hidden(body[:1000].decode(errors="replace"), secret)
        raise ConsulError(
            f"Consul at {shown}: HTTP {status}: {said or 'no reason given'}",
            retry_after=_retry_after(headers.get("Retry-After", "")),
            status=status,
        )
    if headers.get(FILTERED) == "true" and body.strip() in {b"[]", b"{}", b"null"}:
        raise ConsulError(
            f"Consul at {shown}: the ACL token may see nothing; it needs"
            ' service:read and node:read (service_prefix "", node_prefix "")'
        )


def index_in(headers: Mapping[str, str]) -> str:
    """Return the answer's index; 0 if it has no valid one."""
    index = headers.get(INDEX, "")
    good = index.isascii() and index.isdecimal() and len(index) <= MAX_INDEX_DIGITS
    return index if good else "0"


def _hidden(text: str, secret: str | None) -> str:
    return one_line(text.replace(secret, "<token>") if secret else text, SHOWN)


def _why(error: Exception) -> str:
    """Return the operating system's own words if it is the system's error."""
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientSSLError):
        number = error.errno or 0
        if number > 0:  # a negative one is the resolver's
            return os.strerror(number)
    return one_line(error, SHOWN) or type(error).__name__


def _retry_after(value: str) -> float | None:
    """Read seconds. The other form, a date, is ignored: a clock may be wrong."""
    good = value.isascii() and value.isdecimal()
    return min(float(value), MAX_RETRY_AFTER) if good else None
