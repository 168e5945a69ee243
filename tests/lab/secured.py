"""A cluster under ACL deny and verified TLS, where everybody logs in."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tests.lab.certificates import Authority
from tests.lab.consul import ConsulCluster, ServerTls
from tests.lab.jwt import METHOD, Issuer
from tests.lab.mesh import Mesh

PROXIES = 6


class Secured:
    """A cluster, its CA and issuer, and the files that a controller is given."""

    def __init__(self, consul: Path, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority()
        self.issuer = Issuer()
        self.ca = directory / "ca.pem"
        self.ca.write_text(self.authority.pem)
        tls = ServerTls(self.authority.pem, self.authority.issue())
        self.cluster = ConsulCluster(consul, acl=True, tls=tls)

    @classmethod
    @contextmanager
    def running(cls, consul: Path, directory: Path, lifetime: str) -> Iterator[Self]:
        """Start it; logins' tokens live so long, as Consul writes durations."""
        made = cls(consul, directory)
        with made.cluster as cluster:
            made.issuer.install(cluster, lifetime)
            for n in range(12):  # room on each server, see test_failover.py
                cluster.register_proxy(f"idle-{n}")
            yield made

    def config(self, **more: Any) -> dict[str, Any]:
        """Everything by login and verified TLS; `more` are keys of `[consul]`."""
        host = self.cluster.addresses[0]
        names = [f"web-{n}" for n in range(1, PROXIES + 1)]
        for name in names:
            self.issuer.write(self.directory / f"{name}.jwt", name)
        self.issuer.write(self.directory / "controller.jwt", "controller")
        return {
            "consul": {
                "http_addresses": self.cluster.https_addresses,
                "datacenter": "dc1",
                "tls": {"ca_certs": str(self.ca)},
                "credentials": {
                    "type": "login",
                    "auth_method": METHOD,
                    "bearer_token_file": str(self.directory / "controller.jwt"),
                },
                **more,
            },
            "proxies": [
                {
                    "id": f"{name}-sidecar-proxy",
                    "node": "host1-virtual",
                    "service": name,
                    "admin": f"{host}:{19000 + n}",
                    "credentials": {
                        "type": "login",
                        "bearer_token_file": str(self.directory / f"{name}.jwt"),
                        "meta": {"pod": f"default/{name}"},
                    },
                }
                for n, name in enumerate(names, 1)
            ],
        }

    def accessors(self) -> list[str]:
        """Return those of the logins' tokens that have not expired yet."""
        return [each["AccessorID"] for each in self.issuer.tokens(self.cluster)]

    def accessor(self, proxy: str) -> str:
        """Return the accessor of a proxy's only token, by the service it is for."""
        service = proxy.removesuffix("-sidecar-proxy")
        (found,) = (
            each["AccessorID"]
            for each in self.issuer.tokens(self.cluster)
            if any(
                identity["ServiceName"] == service
                for identity in each.get("ServiceIdentities") or ()
            )
        )
        return str(found)


class Gaps(threading.Thread):
    """Looks at every Envoy's stream all the time."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(daemon=True)
        self._mesh = mesh
        self._over = threading.Event()
        self.worst = 0.0
        self.ends = 0
        self.looks = 0

    def run(self) -> None:
        since: dict[str, float] = {}
        while not self._over.wait(0.02):
            for proxy, envoy in self._mesh.envoys.items():
                with suppress(OSError):
                    self._see(proxy, envoy.connected_state, since)

    def _see(self, proxy: str, connected: bool, since: dict[str, float]) -> None:
        self.looks += 1
        now = time.monotonic()
        if connected:
            begun = since.pop(proxy, None)
            if begun is not None:
                self.worst = max(self.worst, now - begun)
        elif proxy not in since:
            since[proxy] = now
            self.ends += 1

    def stop(self) -> None:
        self._over.set()
        self.join()


def token_of(mesh: Mesh, proxy: str) -> str:
    """Return the token that a proxy's Envoy is given."""
    text = (mesh.controller.bootstraps / proxy / "token.json").read_text()
    (secret,) = re.findall(r"[0-9a-f-]{36}", text)
    return str(secret)
