"""The whole under ACL deny and verified TLS: logins that expire, a CA that changes."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.client.acl import unix_time
from tests.lab.certificates import Authority
from tests.lab.consul import GRPC_TLS_PORT, ConsulCluster, ServerTls
from tests.lab.endpoint import ask
from tests.lab.envoy import EnvoyProcess
from tests.lab.jwt import METHOD, Issuer
from tests.lab.long import seconds
from tests.lab.mesh import Mesh
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(900),
]

SECONDS = float(os.environ.get("SECURED_SECONDS") or seconds(100, 300))
"""How long the six proxies run; their tokens live 60 s."""

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


@pytest.fixture
def secured(
    request: pytest.FixtureRequest, consul_bin: Path, tmp_path: Path
) -> Iterator[Secured]:
    """With tokens that live a minute, or as long as its parameter says."""
    made = Secured(consul_bin, tmp_path)
    with made.cluster as cluster:
        made.issuer.install(cluster, getattr(request, "param", "60s"))
        for n in range(12):  # room on each server, see test_failover.py
            cluster.register_proxy(f"idle-{n}")
        yield made


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


def test_tokens_of_a_minute_and_a_new_ca(secured: Secured, envoy_bin: Path) -> None:
    """No gap over a second, no token left over, and none where it should not be."""
    assert ids(secured) == []
    with Mesh(
        secured.cluster, envoy_bin, proxies=PROXIES, config=secured.config()
    ) as mesh:
        mesh.start_envoys(20)
        gaps = Gaps(mesh)
        gaps.start()
        secrets = watch_secrets(secured, mesh, SECONDS / 3)
        replace_ca(secured)
        secrets |= watch_secrets(secured, mesh, SECONDS * 2 / 3)
        gaps.stop()
        print(f"{gaps.ends} streams moved, worst gap {gaps.worst:.2f} s", gaps.looks)
        assert gaps.ends >= PROXIES * (SECONDS // 45)
        assert gaps.worst < 1.0
        assert len(secrets) > PROXIES * (SECONDS // 45)
        nowhere_else(secrets, mesh, secured)
        # While none is being replaced: one for each proxy, and the controller's.
        wait_until(lambda: len(ids(secured)) == PROXIES + 1, "no old token left", 30)


def ids(secured: Secured) -> list[str]:
    """Return the accessors of the logins' tokens that have not expired yet."""
    return [each["AccessorID"] for each in secured.issuer.tokens(secured.cluster)]


def watch_secrets(secured: Secured, mesh: Mesh, seconds: float) -> set[str]:
    """Collect every token that an Envoy was given; no expired one stays in Consul."""
    found: set[str] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for file in mesh.controller.bootstraps.glob("*/token.json"):
            with suppress(OSError):
                found |= set(re.findall(r"[0-9a-f-]{36}", file.read_text()))
        for token in secured.issuer.tokens(secured.cluster):
            left = seconds_left(token["ExpirationTime"])
            assert left > 0, "a token was left to expire"
        time.sleep(1)
    return found


def seconds_left(text: str) -> float:
    return unix_time(text) - time.time()


def replace_ca(secured: Secured) -> None:
    """As one does it: trust both, show the new one's, forget the old one."""
    new = Authority("rsa")
    both = secured.authority.pem + new.pem
    secured.ca.write_text(both)
    time.sleep(3)
    secured.cluster.replace_tls(ServerTls(both, new.issue()))
    time.sleep(3)
    secured.ca.write_text(new.pem)
    secured.cluster.replace_tls(ServerTls(new.pem, new.issue()))
    secured.authority = new


def nowhere_else(secrets: set[str], mesh: Mesh, secured: Secured) -> None:
    """Look for tokens wherever they should not be."""
    status = mesh.controller.run("status", "--json")
    texts = {"status": status, "log": mesh.controller.log()}
    for proxy, envoy in mesh.envoys.items():
        texts[f"config_dump {proxy}"] = envoy.admin("/config_dump").decode()
        texts[f"bootstrap {proxy}"] = mesh.controller.bootstrap(proxy).read_text()
        texts[f"envoy log {proxy}"] = envoy.child.last_words()
    bearers = {file.read_text() for file in secured.directory.glob("*.jwt")}
    for where, text in texts.items():
        assert not [s for s in secrets | bearers if s in text], where
    for file in mesh.controller.bootstraps.rglob("*"):
        if file.is_file() and any(s in file.read_text() for s in secrets):
            assert file.name in {"token.json", "tokens.json"}, file
            assert file.stat().st_mode & 0o777 == 0o600


def test_by_grpc_alone(secured: Secured, envoy_bin: Path) -> None:
    """Servers, logins and renewals with no HTTP, as in consul-dataplane's place."""
    more = {
        "source": "watch",
        "addresses": [secured.cluster.addresses[0]],
        "grpc_port": GRPC_TLS_PORT,
        "http_addresses": ["http://127.0.0.1:1"],
    }
    config = secured.config(**more)
    for each in (config["consul"], *config["proxies"]):
        each["credentials"]["token_ttl"] = 60
    with Mesh(secured.cluster, envoy_bin, proxies=PROXIES, config=config) as mesh:
        mesh.start_envoys(20)
        gaps = Gaps(mesh)
        gaps.start()
        before = {proxy: token_of(mesh, proxy) for proxy in mesh.envoys}
        time.sleep(45)
        gaps.stop()
        assert gaps.worst < 1.0
        for proxy, token in before.items():
            assert token != token_of(mesh, proxy)
        assert "refuse its ACL token" not in mesh.controller.log()
        assert len(mesh.controller.status()["servers"]) == 3


@pytest.mark.parametrize("secured", ["1h"], indirect=True)
def test_a_token_that_is_deleted_and_a_proxy_that_goes(
    secured: Secured, envoy_bin: Path
) -> None:
    """The first is replaced as soon as an Envoy meets it; the second's is destroyed."""
    cluster = secured.cluster
    with Mesh(cluster, envoy_bin, proxies=PROXIES, config=secured.config()) as mesh:
        first = next(iter(mesh.start_envoys(20)))
        deleted = token_of(mesh, first)
        cluster.call("DELETE", f"/v1/acl/token/{accessor(secured, first)}")
        mesh.envoys[first].kill()
        with EnvoyProcess(
            envoy_bin, mesh.controller.bootstrap(first), cgroup=mesh.cgroup
        ) as envoy:
            envoy.wait_connected(30, port=GRPC_TLS_PORT)
        assert deleted != token_of(mesh, first)
        said = f"proxy {first}: the servers refuse its ACL token"
        assert mesh.controller.log().count(said) == 1

        late = cluster.register_proxy("late")
        socket = mesh.controller.bootstraps / "api.sock"
        bearer = str(secured.issuer.write(secured.directory / "late.jwt", "late"))
        login = {"type": "login", "bearer_token_file": bearer}
        entry = {"node": "host1-virtual", "credentials": login}
        assert ask(socket, "PUT", f"/v1/proxies/{late}", entry)[0] == 201
        mesh.controller.run("wait", "--proxy", late, "--for", "bootstrap")
        known = accessor(secured, late)
        ask(socket, "DELETE", f"/v1/proxies/{late}")
        wait_until(lambda: known not in ids(secured), "its token is logged out", 20)
        assert not (mesh.controller.bootstraps / late).exists()
        cluster.deregister("late")


@pytest.mark.parametrize("secured", ["0s"], indirect=True)
def test_fault_94_a_deleted_token_that_never_expires(
    secured: Secured, envoy_bin: Path
) -> None:
    """Its Envoy is back with a new one by itself, and that is the only one."""
    cluster = secured.cluster
    with Mesh(cluster, envoy_bin, proxies=PROXIES, config=secured.config()) as mesh:
        first = next(iter(mesh.start_envoys(20)))
        time.sleep(10)
        deleted = token_of(mesh, first)
        cluster.call("DELETE", f"/v1/acl/token/{accessor(secured, first)}")
        begun = time.monotonic()
        wait_until(lambda: token_of(mesh, first) != deleted, "a new token", 90)
        print(f"a new token after {time.monotonic() - begun:.1f} s")
        mesh.envoys[first].wait_connected(30, port=GRPC_TLS_PORT)
        time.sleep(30)
        assert mesh.controller.log().count(f"proxy {first}: logged in") == 2
        assert mesh.envoys[first].connected_state
        assert len(ids(secured)) == PROXIES + 1


def token_of(mesh: Mesh, proxy: str) -> str:
    text = (mesh.controller.bootstraps / proxy / "token.json").read_text()
    (secret,) = re.findall(r"[0-9a-f-]{36}", text)
    return str(secret)


def accessor(secured: Secured, proxy: str) -> str:
    """Return the accessor of a proxy's only token, by the service it is for."""
    service = proxy.removesuffix("-sidecar-proxy")
    (found,) = (
        each["AccessorID"]
        for each in secured.issuer.tokens(secured.cluster)
        if any(
            identity["ServiceName"] == service
            for identity in each.get("ServiceIdentities") or ()
        )
    )
    return str(found)


def test_a_wrong_name_never_connects(secured: Secured, envoy_bin: Path) -> None:
    """Neither the controller nor an Envoy: closed, and named in the log."""
    config = secured.config()
    config["consul"]["tls"] |= {
        "server_name": "server.dc2.consul",
        "http_server_name": "localhost",
    }
    with Mesh(secured.cluster, envoy_bin, proxies=PROXIES, config=config) as mesh:
        named = "certificate is not valid for 'server.dc2.consul'"
        wait_until(lambda: named in mesh.controller.log(), "the name in the log", 20)
        assert not list(mesh.controller.bootstraps.glob("*/bootstrap.json"))
