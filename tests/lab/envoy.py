"""A real Envoy, what it says of itself, and what the kernel says of its sockets."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.lab.envoy_admin import EnvoyAdmin
from tests.lab.held import Held
from tests.lab.http_request import request
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import Netns, scratch_directory
from tests.lab.sockets import connections


class EnvoyProcess(Held, EnvoyAdmin):
    """One Envoy on a bootstrap: a file, or the data of one."""

    def __init__(
        self,
        envoy: Path,
        bootstrap: Path | Mapping[str, Any],
        *,
        cgroup: Path | None = None,
        netns: Netns | None = None,
        log_level: str = "warning",
        before: Sequence[str] = (),
    ) -> None:
        """Prepare; entering starts it, leaving kills it."""
        self._envoy = envoy
        self._bootstrap = bootstrap
        self._cgroup = cgroup
        self._netns = netns
        self._log_level = log_level
        self._before = before

    def hold(self, stack: ExitStack) -> None:
        """Start Envoy; it may take a moment until its admin interface answers."""
        directory = stack.enter_context(scratch_directory())
        path = self._bootstrap
        if not isinstance(path, Path):
            path = directory / "bootstrap.json"
            path.write_text(json.dumps(self._bootstrap))
        self.bootstrap: dict[str, Any] = json.loads(path.read_text())
        if "dynamic_resources" in self.bootstrap:  # a mere proxy of TCP has none
            ads = self.bootstrap["dynamic_resources"]["ads_config"]
            self.xds_cluster = ads["grpc_services"][0]["envoy_grpc"]["cluster_name"]
        options = "--disable-hot-restart --concurrency 1 --log-level"
        self.child = Child(
            "envoy",
            [str(self._envoy), "-c", str(path), *options.split(), self._log_level],
            directory,
            cgroup=self._cgroup,
            netns=self._netns,
            before=self._before,
        )
        stack.callback(self.child.kill)

    def __repr__(self) -> str:
        return f"<EnvoyProcess {self.proxy_id} {self.child!r}>"

    @property
    def proxy_id(self) -> str:
        """The id it goes by in Consul."""
        return str(self.bootstrap["node"]["id"])

    def admin(self, path: str, method: str = "GET") -> bytes:
        """Ask its admin interface; OSError where it does not answer."""
        where = self.bootstrap["admin"]["address"]["socket_address"]
        host = where["address"]
        host = f"[{host}]" if ":" in host else host
        url = f"http://{host}:{where['port_value']}{path}"
        return request(method, url, netns=self._netns)

    def xds_server(self, port: int = 8502) -> str | None:
        """Return the server it is connected to, as `address:port`, None if to none.

        The kernel's answer: Envoy itself only knows the VIP. `port` is the servers'
        gRPC port, which nothing else it connects to may use.
        """
        for peer in connections(self.child.pid):
            if peer.endswith(f":{port}"):
                return peer
        return None

    def wait_connected(self, timeout: float = 10.0, *, port: int = 8502) -> str:
        """Wait until it has an xDS stream and its configuration; return the server.

        Raises:
            LabError: it ended, or this did not happen within `timeout` seconds.
        """

        def connected() -> str | None:
            self.child.must_run()
            server = self.xds_server(port)
            return server if self.connected_state and self.configured else None

        return wait_until(connected, f"{self.proxy_id} connected", timeout) or ""

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()

    def stop(self) -> int:
        """SIGTERM, wait for the end, return the exit code."""
        return self.child.terminate()
