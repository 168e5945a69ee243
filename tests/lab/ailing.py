"""A host on which much is wrong, as alerts, the dashboard and people see it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.mesh import Mesh
from tests.lab.secured import PROXIES, Secured

LISTEN = "127.0.0.1:20397"
"""Its endpoint."""

WRONG, NO_LOGIN, OWN = (f"web-{n}-sidecar-proxy" for n in (3, 4, 5))
"""Proxies with another cluster's token, with a login that is refused, and with a token
of its own that can be deleted."""


class Ailing:
    """Three servers that want tokens, and a controller with six proxies and DNS."""

    def __init__(self, secured: Secured, mesh: Mesh, accessor: str) -> None:
        self.cluster = secured.cluster
        self.mesh = mesh
        self._accessor = accessor

    @classmethod
    @contextmanager
    def running(cls, secured: Secured, envoy: Path) -> Iterator["Ailing"]:
        """Start it on a cluster; leaving ends it."""
        service = {"ServiceName": OWN.removesuffix("-sidecar-proxy")}
        made = secured.cluster.call(
            "PUT", "/v1/acl/token", {"ServiceIdentities": [service]}
        )
        config = secured.config()
        proxies = {each["id"]: each for each in config["proxies"]}
        for proxy, secret in ((WRONG, str(uuid.uuid4())), (OWN, made["SecretID"])):
            token = secured.directory / f"{proxy}.token"
            token.write_text(secret)
            how = {"type": "static", "token_file": str(token)}
            proxies[proxy]["credentials"] = how
        bearer = secured.directory / "wrong.jwt"
        bearer.write_text("nobody.signed.this")
        proxies[NO_LOGIN]["credentials"]["bearer_token_file"] = str(bearer)
        more = {"api": {"listen": LISTEN}, "dns": {"enabled": True}}
        with Mesh(
            secured.cluster, envoy, proxies=PROXIES, config={**config, **more}
        ) as mesh:
            mesh.start_envoys(60, without=[NO_LOGIN], doomed=[WRONG])
            yield cls(secured, mesh, made["AccessorID"])

    def kill_server(self) -> str:
        """SIGKILL one; return its `address:port`."""
        self.cluster.kill(2)
        return self.cluster.grpc_endpoints[2]

    def kill_other_servers(self) -> None:
        """SIGKILL those that `kill_server` left."""
        self.cluster.kill(0)
        self.cluster.kill(1)

    def delete_token(self) -> None:
        """Delete the token of `OWN` in Consul."""
        self.cluster.call("DELETE", f"/v1/acl/token/{self._accessor}")
