"""What an answer of Consul's HTTP API may be; everything else becomes a `ConsulError`.

An answer comes from the network: it may hold anything, be of any size or depth, or be
none at all, and no error may repeat a secret.
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
"""Bytes, unpacked. The servers' list is some kilobytes."""

MAX_VALUES = 250_000
"""JSON values in one answer. More of them would keep the event loop from other work
for longer than a twentieth of a second, and no list that is needed here has as many."""

MAX_INDEX_DIGITS = 20
"""Consul's index is a 64-bit number."""

FILTERED = "X-Consul-Results-Filtered-By-ACLs"
"""The header that says "true" where the token may not see all there is."""

INDEX = "X-Consul-Index"

KNOWN_LEADER = "X-Consul-KnownLeader"
"""The header that says "false" where the server that answered knows no leader."""

MAX_RETRY_AFTER = 300.0
"""Seconds: no answer may silence us for longer."""

SHOWN = 200
"""Characters of what Consul said that an error repeats."""


@contextmanager
def as_consul_error(
    shown: str, total: float, named_by: Callable[[], str]
) -> Iterator[None]:
    """Make every failure of a request to `shown` a `ConsulError`.

    `total` is how many seconds it had; `named_by` names the keys that made the name
    which its certificate has to have. None of the texts holds a header.
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
    """Make every failure to read an answer from `shown` a `ConsulError`.

    Whatever the reader says would quote the answer; its cause says enough.
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
    r"""Write halves of surrogate pairs in JSON (`"\ud800"`) as U+FFFD, as Go does.

    A text with one is not Unicode: it can be neither logged nor written to a file.
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
    """Refuse JSON that has too many values to be read at one go.

    Raises:
        ConsulError: it has.
    """
    # Each value but the first follows one of these; those in texts do no harm.
    if sum(map(body.count, (b",", b"[", b"{", b":"))) > 2 * MAX_VALUES:
        raise ConsulError(
            f"Consul at {shown}: the answer holds more than {MAX_VALUES} values"
        )


def check_status(
    shown: str, status: int, headers: Mapping[str, str], body: bytes, secret: str | None
) -> None:
    """Refuse what is not an answer to the question; no error repeats `secret`.

    Raises:
        ConsulError: with the HTTP status, where it is one that refuses.
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
    """Return the answer's index; 0 for what is none."""
    index = headers.get(INDEX, "")
    good = index.isascii() and index.isdecimal() and len(index) <= MAX_INDEX_DIGITS
    return index if good else "0"


def _hidden(text: str, secret: str | None) -> str:
    return one_line(text.replace(secret, "<token>") if secret else text, SHOWN)


def _why(error: Exception) -> str:
    """Say it in the system's words where it is the system's error."""
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientSSLError):
        number = error.errno or 0
        if number > 0:  # a negative one is the resolver's
            return os.strerror(number)
    return one_line(error, SHOWN) or type(error).__name__


def _retry_after(value: str) -> float | None:
    """Read seconds; the other form, a date, trusts a clock that may be wrong."""
    good = value.isascii() and value.isdecimal()
    return min(float(value), MAX_RETRY_AFTER) if good else None
