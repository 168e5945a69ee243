"""Makes proxies of `[[proxies]]` entries, and checks their credentials."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import msgspec

from consul_ebpf.config import schema
from consul_ebpf.config.schema import ProxyEntry
from consul_ebpf.model.addresses import parse_endpoint
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.names import credential_problems, problems, shown
from consul_ebpf.model.values import Credentials, Login, Proxy


def to_proxies(
    entries: Sequence[ProxyEntry],
    owner: str,
    default: schema.Credentials = schema.NO_CREDENTIALS,
) -> tuple[Proxy, ...]:
    """Make proxies of entries.

    Args:
        entries: the entries.
        owner: where all of them come from, for messages.
        default: the host's credentials, which complete a proxy's own login.

    Raises:
        ConfigError: an entry is wrong, like `proxies[2].vip: …`, or two have one id.
    """
    for index, entry in enumerate(entries):
        for key, wrong in wrong_credentials(entry.credentials, default):
            raise ConfigError(f"proxies[{index}].credentials{key}: {wrong}")
    proxies = tuple(
        _to_proxy(entry, i, owner, default) for i, entry in enumerate(entries)
    )
    seen: dict[str, int] = {}
    for index, proxy in enumerate(proxies):
        if (first := seen.setdefault(proxy.id, index)) != index:
            raise ConfigError(
                f"proxies[{index}].id: {shown(proxy.id)} is that of proxies[{first}]"
                " too; remove one of them"
            )
    return proxies


def wrong_credentials(
    credentials: schema.Credentials, default: schema.Credentials | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (`.key`, or empty for the whole table; what is wrong). Shows no secret.

    A proxy's own login takes what it leaves out from `default`.
    """
    yield from _wrong_type(credentials)
    if credentials.type == "login":
        both = credentials.bearer_token and credentials.bearer_token_file
        if both:
            yield "", "bearer_token and bearer_token_file are both given; remove one"
        whole = merged(credentials, default or schema.NO_CREDENTIALS)
        if not whole.auth_method:
            yield ".auth_method", 'is empty; type = "login" needs one'
        elif not (whole.bearer_token or whole.bearer_token_file):
            yield "", 'type = "login" needs bearer_token or bearer_token_file'
    for name in ("token", "bearer_token"):
        secret = getattr(credentials, name)
        if not (secret.isascii() and secret.isprintable()):
            yield f".{name}", "holds more than printable ASCII; copy it again"
    if (made := to_credentials(credentials)) is not None:
        for field, wrong in credential_problems(made):
            yield f".{field}", wrong
    if not 0 <= credentials.token_ttl < float("inf"):
        yield ".token_ttl", "is not a number of seconds"


def _wrong_type(credentials: schema.Credentials) -> Iterator[tuple[str, str]]:
    tokens = [name for name in ("token", "token_file") if getattr(credentials, name)]
    logins = [
        name
        for name in ("auth_method", "bearer_token", "bearer_token_file")
        if getattr(credentials, name)
    ]
    if credentials.type == "static" and len(tokens) != 1:
        have = "both are" if tokens else "neither is"
        yield "", f'type = "static" needs token or token_file; {have} given'
    elif credentials.type != "static" and tokens:
        yield ".type", f'must be "static" where {tokens[0]} is given'
    if credentials.type != "login" and logins:
        yield ".type", f'must be "login" where {logins[0]} is given'


def merged(own: schema.Credentials, default: schema.Credentials) -> schema.Credentials:
    """Fill in what a proxy's own login leaves out from the host's login."""
    if own.type != "login" or default.type != "login":
        return own
    names = ["auth_method", "namespace", "partition", "datacenter", "token_ttl"]
    if not (own.bearer_token or own.bearer_token_file):
        names += ["bearer_token", "bearer_token_file"]
    taken = {name: getattr(own, name) or getattr(default, name) for name in names}
    return msgspec.structs.replace(own, **taken, meta={**default.meta, **own.meta})


def to_credentials(entry: schema.Credentials) -> Credentials | None:
    """Make credentials of a table; None if its type is empty."""
    if entry.type == "static":
        return Credentials(token=entry.token, token_file=entry.token_file)
    if entry.type == "login":
        return Credentials(
            login=Login(
                auth_method=entry.auth_method,
                bearer_token=entry.bearer_token,
                bearer_token_file=entry.bearer_token_file,
                namespace=entry.namespace,
                partition=entry.partition,
                datacenter=entry.datacenter,
                meta=tuple(sorted(entry.meta.items())),
                token_ttl=entry.token_ttl,
            )
        )
    return None


def _to_proxy(
    entry: ProxyEntry, index: int, owner: str, default: schema.Credentials
) -> Proxy:
    try:
        vip = ip_address(entry.vip) if entry.vip else None
    except ValueError:
        raise ConfigError(
            f"proxies[{index}].vip: {shown(entry.vip)} is not an IP address;"
            " leave it out to have one allocated"
        ) from None
    proxy = Proxy(
        id=entry.id,
        node=entry.node,
        namespace=entry.namespace,
        partition=entry.partition,
        service=entry.service,
        vip=vip,
        admin=_endpoint(entry.admin, f"proxies[{index}].admin"),
        ready=_endpoint(entry.ready, f"proxies[{index}].ready"),
        owner=owner,
        netns=entry.netns,
        cgroup=entry.cgroup,
        credentials=to_credentials(merged(entry.credentials, default)),
    )
    for field, wrong in problems(proxy):
        value = shown(getattr(proxy, field)) if hasattr(proxy, field) else "its value"
        raise ConfigError(f"proxies[{index}].{field}: {value} {wrong}")
    return proxy


def _endpoint(text: str, key: str) -> tuple[str, int] | None:
    if not text:
        return None
    try:
        return parse_endpoint(text)
    except ValueError as error:
        raise ConfigError(
            f'{key}: {shown(text)}: {error}; write it like "127.0.0.1:19000"'
        ) from None
