"""What a proxy may be called. Pure; the same rules wherever a proxy comes from."""

import re
from collections.abc import Iterable
from itertools import chain

from consul_ebpf.model.errors import InvalidProxyError
from consul_ebpf.model.values import (
    Credentials,
    Login,
    Proxy,
    ProxyFiles,
    ProxyTelemetry,
)

MAX_KEY = 200
"""Bytes of UTF-8. A key is a directory's name, and those end at 255."""

MAX_NAME = 512
"""Bytes of UTF-8 of the other names. One of them is the id, if it is not the key."""

MAX_LINE = 2048
"""Bytes of UTF-8 of a line that says why something waits."""

MAX_ENV = 16384
"""Bytes of UTF-8 of all names and values of a proxy's `env`."""

OWN_SUFFIXES = (".json", ".bad", ".tmp")
"""Our own files are beside the proxies' directories, and their names end like this."""

OWN_NAMES = frozenset({"api.sock"})
"""What else is there."""

MAX_PATH = 4095
"""Bytes: the kernel's own limit."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_VARIABLE = re.compile(r"[A-Za-z0-9_.-]{1,256}")
TENANCY = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_proxy(proxy: Proxy) -> None:
    """Refuse a proxy whose names fit no directory, no bootstrap or no log line.

    Raises:
        InvalidProxyError: naming the proxy, the field, and what to do.
    """
    for field, wrong in problems(proxy):
        raise InvalidProxyError(f"{named(proxy)}: {field} {wrong}")


def problems(proxy: Proxy) -> list[tuple[str, str]]:
    """Return (field, what is wrong and what to do) for each field that is wrong."""
    if _plain(proxy):
        return []
    wrong = {
        "id": _wrong_key(proxy.id) if proxy.key == proxy.id else _wrong_name(proxy.id),
        "key": _wrong_key(proxy.key) if proxy.key != proxy.id else "",
        "node": _wrong_name(proxy.node),
        "service": _wrong_name(proxy.service),
        "namespace": _wrong_tenancy(proxy.namespace),
        "partition": _wrong_tenancy(proxy.partition),
        "netns": _wrong_path(proxy.netns),
        "cgroup": _wrong_path(proxy.cgroup),
        "awaits": _wrong_text(proxy.awaits, MAX_LINE),
        "env": _wrong_env(proxy.env),
        **(_wrong_files(proxy.files) if proxy.files else {}),
        **(_wrong_telemetry(proxy.telemetry) if proxy.telemetry else {}),
    }
    own = credential_problems(proxy.credentials) if proxy.credentials else []
    return [
        *((field, text) for field, text in wrong.items() if text),
        *((f"credentials.{field}", text) for field, text in own),
    ]


def _plain(proxy: Proxy) -> bool:
    """Whether a proxy's names are as simple as most are: a quick "no problems"."""
    id_ = proxy.id
    return (
        not (proxy.netns or proxy.cgroup or proxy.credentials or proxy.files)
        and not (proxy.awaits or proxy.env or proxy.telemetry)
        and proxy.key == id_
        and _PLAIN_ID.fullmatch(id_) is not None
        and not id_.endswith(OWN_SUFFIXES)
        and id_ not in OWN_NAMES
        and _plain_name(proxy.node)
        and _plain_name(proxy.service)
        and (proxy.namespace == "default" or not _wrong_tenancy(proxy.namespace))
        and (proxy.partition == "default" or not _wrong_tenancy(proxy.partition))
    )


def _plain_name(name: str) -> bool:
    return len(name) <= MAX_NAME and name.isascii() and name.isprintable()


def credential_problems(credentials: Credentials) -> list[tuple[str, str]]:
    """Return (field, what is wrong) for each wrong text of the credentials.

    No text is repeated: somebody may have written a secret into the wrong field.
    """
    login = credentials.login or Login("")
    wrong = {
        "token_file": _wrong_text(credentials.token_file, MAX_PATH),
        "bearer_token_file": _wrong_text(login.bearer_token_file, MAX_PATH),
        "auth_method": _wrong_name(login.auth_method),
        "namespace": _wrong_name(login.namespace),
        "partition": _wrong_name(login.partition),
        "datacenter": _wrong_name(login.datacenter),
        "meta": next(filter(None, map(_wrong_name, chain(*login.meta))), ""),
    }
    return [(field, text) for field, text in wrong.items() if text]


def unique(
    proxies: Iterable[Proxy],
) -> tuple[tuple[Proxy, ...], tuple[tuple[Proxy, str], ...]]:
    """Return the first proxy of each key, and the others, each with the reason.

    Namespaces do not tell two proxies apart here: a host's files and commands are named
    by the key alone. Two proxies cannot share a directory for their files either.
    """
    first: dict[str, Proxy] = {}
    directories: dict[str, Proxy] = {}
    refused = []
    for proxy in proxies:
        other, what = first.setdefault(proxy.key, proxy), "this id"
        if other is proxy and proxy.files is not None:
            directory = proxy.files.directory
            other = directories.setdefault(directory.rstrip("/"), proxy)
            what = f"its files in {shown(directory)}, too"
            if other is not proxy:
                del first[proxy.key]
        if other is not proxy:
            refused.append(
                (proxy, f"{named(proxy)}: refused, {named(other)} has {what}")
            )
    return tuple(first.values()), tuple(refused)


def named(proxy: Proxy) -> str:
    """Name a proxy, and where it was configured, for a message."""
    whose = f" ({proxy.owner})" if proxy.owner else ""
    return f"proxy {shown(proxy.name)}{whose}"


def shown(name: str) -> str:
    """Quote a name for a message: one printable line of at most 82 characters."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def _wrong_key(id_: str) -> str:
    if not id_:
        return "is empty; write the proxy service's ID in Consul"
    if wrong := _wrong_text(id_, MAX_KEY):
        return wrong
    if "/" in id_:
        return "holds a '/'; it becomes a directory's name, register it without"
    if id_.startswith((".", "-")):
        return f"begins with {id_[0]!r}; it becomes a directory's name, rename it"
    if id_ in OWN_NAMES or id_.endswith(OWN_SUFFIXES):
        return f"ends with {id_[id_.rindex('.') :]!r}, as our own files do; rename it"
    return ""


def _wrong_name(name: str) -> str:
    return _wrong_text(name, MAX_NAME)


def _wrong_path(path: str) -> str:
    if path and not path.startswith("/"):
        return "is not an absolute path"
    return _wrong_text(path, MAX_PATH)


def _wrong_directory(path: str) -> str:
    if not path:
        return "is empty; write an absolute path"
    if ".." in path.split("/"):
        return "holds '..'; write the path without"
    return _wrong_path(path)


def _wrong_files(files: ProxyFiles) -> dict[str, str]:
    """Say what is wrong with each field, if anything."""
    return {
        "files.directory": _wrong_directory(files.directory),
        "files.seen_at": _wrong_path(files.seen_at),
        "files.mode": _wrong_mode(files.mode),
    }


def _wrong_mode(mode: int) -> str:
    if mode & ~0o644 or not mode & 0o400:
        return f"is {mode:#o}; only reading, and writing by the owner, can be allowed"
    return ""


def _wrong_telemetry(telemetry: ProxyTelemetry) -> dict[str, str]:
    """Say what is wrong with each field, if anything."""
    prometheus = telemetry.prometheus
    paths = prometheus.ca_certs, prometheus.cert, prometheus.key
    wrong = next(filter(None, (_wrong_text(path, MAX_PATH) for path in paths)), "")
    if len(set(map(bool, paths))) > 1:
        wrong = "needs ca_certs, cert and key, or none of them"
    if not 0 <= prometheus.backend_port < 65536:
        wrong = f"has port {prometheus.backend_port}; take one from 0 to 65535"
    return {
        "telemetry.prometheus": wrong,
        "telemetry.prometheus.scrape_path": _wrong_name(prometheus.scrape_path),
    }


def _wrong_env(env: tuple[tuple[str, str], ...]) -> str:
    """Say what is wrong, without a value: it may be a secret."""
    if any(not _VARIABLE.fullmatch(name) for name, _ in env):
        return "has a name that is not 1 to 256 letters, digits, '_', '.' or '-'"
    try:
        size = sum(len(name) + len(value.encode()) for name, value in env)
    except UnicodeEncodeError:
        return "has a value that is not Unicode text"
    return (
        f"is {size} bytes long; at most {MAX_ENV} are allowed" if size > MAX_ENV else ""
    )


def _wrong_tenancy(name: str) -> str:
    if not TENANCY.fullmatch(name):
        return "must be 1 to 64 letters, digits, '-' or '_'"
    return ""


def _wrong_text(text: str, limit: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if size > limit:
        return f"is {size} bytes long; at most {limit} are allowed"
    if CONTROL.search(text):
        return "holds a control character; remove it"
    return ""
