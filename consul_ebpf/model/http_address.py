"""Where Consul's HTTP API is, as people write it and Consul's own client takes it."""

import random
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import host_port

BARE_PORT = 8500
"""Consul's own port, for an address without a scheme and without a port. An address
with a scheme and without a port has the scheme's, as in any URL."""

SCHEME_PORTS = {"http": 80, "https": 443}

UNIX = "unix://"

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path: the kernel has 108, with a NUL at the end."""


class HttpAddress(NamedTuple):
    """Where an agent's or server's HTTP API is."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    """Path below which a reverse proxy serves Consul, such as `/consul`; or empty."""
    socket: str = ""
    """Path of a Unix socket. Then host and port are empty."""

    def __str__(self) -> str:
        """`http://127.0.0.1:8500`, `https://consul.example.com:443/consul`, ..."""
        if self.socket:
            return UNIX + self.socket
        return f"{self.scheme}://{host_port(self.host, self.port)}{self.prefix}"

    @property
    def here(self) -> bool:
        """Whether it is on this host: a loopback address or a Unix socket."""
        if self.socket or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str, *, https: bool = False) -> "HttpAddress":
        """Read `http[s]://host[:port][/prefix]`, `host[:port]` or `unix:///socket`.

        Args:
            text: the address.
            https: use HTTPS whatever the address says, as with $CONSUL_HTTP_SSL=true.

        Raises:
            ConfigError: it is none of these. The message repeats no user or password.
        """
        shown = ascii(text.rpartition("@")[2][:80])
        if any(c.isspace() or not c.isprintable() for c in text):
            raise _no_address(shown)
        if text.startswith(UNIX):
            return cls._of_socket(text.removeprefix(UNIX), shown, https=https)
        written = "://" in text
        try:
            parts = urlsplit(text if written else f"//{text}", "http")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise _no_address(shown) from None
        if "@" in parts.netloc:
            raise ConfigError(
                f"Consul address {shown}: leave out the user and password"
            )
        if parts.scheme not in SCHEME_PORTS or not host or port == 0:
            raise _no_address(shown)
        prefix = parts.path.rstrip("/")
        if parts.query or parts.fragment or (prefix and not written):
            raise ConfigError(
                f"Consul address {shown}: nothing but a path may follow the port, and"
                " only where it begins with http:// or https://"
            )
        if {".", "..", ""} & set(prefix.split("/")[1:]):
            raise ConfigError(f"Consul address {shown}: its path is not a plain one")
        scheme = "https" if https else parts.scheme
        default = SCHEME_PORTS[scheme] if written else BARE_PORT
        return cls(scheme, host, default if port is None else port, prefix)

    @classmethod
    def _of_socket(cls, path: str, shown: str, *, https: bool) -> "HttpAddress":
        if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH:
            raise ConfigError(
                f"Consul address {shown}: a socket's path is absolute and of at most"
                f" {MAX_SOCKET_PATH} bytes, like unix:///run/consul/http.sock"
            )
        if https:
            raise ConfigError(
                f"Consul address {shown}: a socket is asked in plaintext; unset"
                " CONSUL_HTTP_SSL"
            )
        return cls("http", "", 0, socket=path)


def _no_address(shown: str) -> ConfigError:
    return ConfigError(
        f"Consul address {shown} is not one; write it like http://127.0.0.1:8500"
    )


def in_turn(addresses: Sequence[str]) -> list[HttpAddress]:
    """Read addresses, and return them in the order to ask.

    That is theirs, if the first is on this host: an agent before the servers. Else it
    is drawn: a fleet's hosts, all with these addresses, should not all ask the first.

    Raises:
        ConfigError: one cannot be read.
    """
    read = [HttpAddress.parse(address) for address in addresses]
    if read and not read[0].here:
        random.shuffle(read)
    return read
