"""A real Consul cluster on loopback addresses of its own."""

import json
import socket
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.lab.address_block import AddressBlock
from tests.lab.certificates import Issued
from tests.lab.held import Held
from tests.lab.http_request import request
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import Netns, scratch_directory

HTTP_PORT = 8500
GRPC_PORT = 8502
GRPC_TLS_PORT = 8503
HTTPS_PORT = 8501


@dataclass(frozen=True)
class ServerTls:
    """What the servers show and trust, PEM; then plaintext gRPC is off."""

    ca: str
    issued: Issued
    verify_incoming: bool = False
    """Whether gRPC's clients have to show a certificate."""


class ConsulCluster(Held):
    """Consul servers, each on its own loopback address and Consul's own ports.

    With `acl`, everything is denied but to the holder of `management_token`. With
    `netns`, the servers are in that namespace and so are the requests made here.
    Servers are named by their index everywhere.
    """

    def __init__(
        self,
        consul: Path,
        addresses: Sequence[str] = (),
        *,
        size: int = 3,
        acl: bool = False,
        netns: Netns | None = None,
        config: Mapping[str, Any] | None = None,
        cgroups: Sequence[Path] = (),
        tls: ServerTls | None = None,
        grpc_tls_port: int = GRPC_TLS_PORT,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            consul: the binary.
            addresses: of the servers; empty: `size` addresses in a free block.
            size: how many servers, where no addresses are given.
            acl: turn ACLs on, default deny.
            netns: where to run.
            config: more of the agent's configuration, for every server.
            cgroups: one for each server to run in.
            tls: HTTPS besides HTTP, and gRPC over TLS only.
            grpc_tls_port: where that is.
        """
        self._tls = tls
        self.grpc_port = grpc_tls_port if tls else GRPC_PORT
        self._consul = consul
        self._size = size
        self._netns = netns
        self._more = dict(config or {})
        self._cgroups = tuple(cgroups)
        self._registered = 0
        self.addresses = tuple(addresses)
        self.management_token = str(uuid.uuid4()) if acl else ""
        self.servers: list[Child] = []

    def hold(self, stack: ExitStack) -> None:
        """Start every server and wait until the cluster is ready."""
        if not self.addresses:
            block = stack.enter_context(AddressBlock(HTTP_PORT))
            self.addresses = block.addresses(self._size)
        self._directory = stack.enter_context(scratch_directory())
        stack.callback(self._kill_all)
        if self._tls:
            self._write_tls(self._tls)
        for i in range(len(self.addresses)):
            self.servers.append(self._start(i))
        self.wait_ready()

    @property
    def http_addresses(self) -> list[str]:
        """The servers' HTTP APIs, as URLs."""
        return [f"http://{_bracketed(a)}:{HTTP_PORT}" for a in self.addresses]

    @property
    def grpc_endpoints(self) -> list[str]:
        """The servers' gRPC ports, as `address:port`."""
        return [f"{_bracketed(a)}:{self.grpc_port}" for a in self.addresses]

    @property
    def https_addresses(self) -> list[str]:
        """The servers' HTTPS APIs, as URLs."""
        return [f"https://{_bracketed(a)}:{HTTPS_PORT}" for a in self.addresses]

    @property
    def version(self) -> str:
        """The servers' version, as they say it."""
        return str(self.call("GET", "/v1/agent/self")["Config"]["Version"])

    def replace_tls(self, tls: ServerTls) -> None:
        """Have the servers show and trust something else, without a restart."""
        self._tls = tls
        self._write_tls(tls)
        for i in range(len(self.addresses)):
            self.call("PUT", "/v1/agent/reload", server=i)

    def reload(self, config: Mapping[str, Any]) -> None:
        """Have running servers take up more of what an agent reloads."""
        self._more = {**self._more, **config}
        for i in range(len(self.servers)):
            self._configure(i)
            self.call("PUT", "/v1/agent/reload", server=i)

    def kill(self, i: int) -> None:
        """SIGKILL a server: its kernel resets its connections."""
        self.servers[i].kill()

    def freeze(self, i: int) -> None:
        """SIGSTOP a server: it still accepts connections and answers nothing."""
        self.servers[i].freeze()

    def thaw(self, i: int) -> None:
        """Let a frozen server go on."""
        self.servers[i].thaw()

    def restart(self, *servers: int) -> None:
        """Start dead servers again on their data; return once the cluster is ready."""
        for i in servers:
            self.servers[i].kill()
            self.servers[i] = self._start(i)
        self.wait_ready()

    def leave(self, i: int) -> None:
        """Let a server leave the cluster as an operator would; wait for its end."""
        self.call("PUT", "/v1/agent/leave", server=i, timeout=30)
        self.servers[i].wait(30)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        server: int | None = None,
        token: str | None = None,
        timeout: float = 5.0,
    ) -> Any:
        """Ask a server's HTTP API (the first running one) and decode its answer."""
        if server is None:
            running = (i for i, s in enumerate(self.servers) if s.running)
            server = next(running, 0)
        text = request(
            method,
            self.http_addresses[server] + path,
            body,
            token=self.management_token if token is None else token,
            netns=self._netns,
            timeout=timeout,
        )
        return json.loads(text) if text.strip() else None

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until all running servers follow a leader, are healthy and serve gRPC.

        Raises:
            LabError: a server ended, or they were not ready in time.
        """
        running = [i for i, server in enumerate(self.servers) if server.running]

        def ready() -> bool:
            for i in running:
                self.servers[i].must_run()
            return all(self._serves(i) for i in running) and self._healthy(running)

        wait_until(ready, f"Consul servers {running} ready", timeout)

    def register_proxy(
        self,
        service: str,
        *,
        node: str = "host1-virtual",
        address: str | None = None,
        port: int | None = None,
    ) -> str:
        """Register a service and its connect proxy in the catalog, agentless.

        `address:port` is where the proxy's Envoy listens: by default the first
        server's address and a port of its own. Returns the proxy's id.
        """
        self._registered += 1
        address = address or self.addresses[0]
        port = port or 21000 + self._registered
        proxy = f"{service}-sidecar-proxy"
        host = {"Node": node, "Address": address, "SkipNodeUpdate": False}
        instance = {"ID": service, "Service": service, "Port": 9090}
        sidecar = {
            "Kind": "connect-proxy",
            "ID": proxy,
            "Service": proxy,
            "Address": address,
            "Port": port,
            "Proxy": {
                "DestinationServiceName": service,
                "DestinationServiceID": service,
                "LocalServiceAddress": "127.0.0.1",
                "LocalServicePort": 9090,
                # Envoy listens on all addresses otherwise.
                "Config": {"bind_address": address},
            },
        }
        for entry in (instance, sidecar):
            self.call("PUT", "/v1/catalog/register", {**host, "Service": entry})
        return proxy

    def deregister(self, service: str, *, node: str = "host1-virtual") -> None:
        """Remove what `register_proxy` put into the catalog."""
        for entry in (f"{service}-sidecar-proxy", service):
            body = {"Node": node, "ServiceID": entry}
            self.call("PUT", "/v1/catalog/deregister", body)

    def _start(self, i: int) -> Child:
        path = self._configure(i)
        argv = [str(self._consul), "agent", f"-config-file={path}"]
        cgroup = self._cgroups[i] if self._cgroups else None
        return Child(
            f"consul-{i}", argv, self._directory, cgroup=cgroup, netns=self._netns
        )

    def _configure(self, i: int) -> Path:
        data = self._directory / f"data-{i}"
        data.mkdir(exist_ok=True)
        path = self._directory / f"server-{i}.json"
        path.write_text(json.dumps(self._configuration(i, data)))
        return path

    def _write_tls(self, tls: ServerTls) -> None:
        for name, pem in (
            ("ca.pem", tls.ca),
            ("cert.pem", tls.issued.cert),
            ("key.pem", tls.issued.key),
        ):
            (self._directory / name).write_text(pem)

    def _tls_configuration(self) -> dict[str, Any]:
        if self._tls is None:
            return {"ports": {"grpc": GRPC_PORT}}
        files = {
            "ca_file": str(self._directory / "ca.pem"),
            "cert_file": str(self._directory / "cert.pem"),
            "key_file": str(self._directory / "key.pem"),
        }
        return {
            "ports": {"grpc": -1, "grpc_tls": self.grpc_port, "https": HTTPS_PORT},
            "tls": {
                "defaults": {**files, "verify_incoming": False},
                "grpc": {"verify_incoming": self._tls.verify_incoming},
            },
        }

    def _configuration(self, i: int, data: Path) -> dict[str, Any]:
        address = self.addresses[i]
        others = [_bracketed(a) for a in self.addresses if a != address]
        acl: dict[str, Any] = {}
        if token := self.management_token:
            tokens = {"initial_management": token, "agent": token}
            acl = {"enabled": True, "default_policy": "deny", "tokens": tokens}
        return {
            "node_name": f"server-{i}",
            "server": True,
            "bootstrap_expect": len(self.addresses),
            "bind_addr": address,
            "client_addr": address,
            "retry_join": others,
            "retry_interval": "500ms",
            "data_dir": str(data),
            "disable_update_check": True,
            "connect": {"enabled": True},
            **self._tls_configuration(),
            "performance": {"raft_multiplier": 1, "leave_drain_time": "500ms"},
            "acl": acl,
            "log_level": "info",
            **self._more,
        }

    def _serves(self, i: int) -> bool:
        address = (self.addresses[i], self.grpc_port)

        def connect() -> bool:
            socket.create_connection(address, timeout=1).close()
            return True

        leader = self.call("GET", "/v1/status/leader", server=i)
        return bool(leader) and (
            self._netns.call(connect) if self._netns else connect()
        )

    def _healthy(self, running: list[int]) -> bool:
        """Whether Consul itself, by catalog and by autopilot, says they are well."""
        nodes = self.call("GET", "/v1/health/service/consul?passing")
        passing = {node["Node"]["Node"] for node in nodes}
        # 429 until every server is healthy: then only a majority can be asked for.
        if len(running) == len(self.servers):
            self.call("GET", "/v1/operator/autopilot/health")
        roots = self.call("GET", "/v1/connect/ca/roots")
        return passing >= {f"server-{i}" for i in running} and bool(roots["Roots"])

    def _kill_all(self) -> None:
        for server in self.servers:
            server.kill()


def _bracketed(address: str) -> str:
    return f"[{address}]" if ip_address(address).version == 6 else address
