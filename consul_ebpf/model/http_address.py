"""Where Consul's HTTP API is, as people write it."""

from typing import NamedTuple
from urllib.parse import urlsplit

from consul_ebpf.model.errors import ConfigError
from consul_ebpf.model.values import host_port


class HttpAddress(NamedTuple):
    """Where an agent's or server's HTTP API is."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """`http://127.0.0.1:8500`."""
        return f"{self.scheme}://{host_port(self.host, self.port)}"

    @classmethod
    def parse(cls, text: str) -> "HttpAddress":
        """Read `http[s]://host[:port]` or `host[:port]`; the port defaults to 8500.

        Raises:
            ConfigError: it is none of these. A user or password is not repeated.
        """
        shown = ascii(text.rpartition("@")[2][:80])
        try:
            parts = urlsplit(text if "://" in text else f"//{text}", "http")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ConfigError(
                f"Consul address {shown} cannot be read;"
                " write it like http://127.0.0.1:8500"
            ) from None
        if "@" in parts.netloc:
            raise ConfigError(
                f"Consul address {shown}: leave out the user and password"
            )
        wrong = parts.scheme not in {"http", "https"} or not host or port == 0
        if wrong or any(c.isspace() or not c.isprintable() for c in text):
            raise ConfigError(
                f"Consul address {shown} is not one; write it like"
                " http://127.0.0.1:8500"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigError(f"Consul address {shown}: nothing may follow the port")
        return cls(parts.scheme, host or "", 8500 if port is None else port)
