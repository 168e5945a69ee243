"""From a proxy that is to run until its Envoy has its first configuration.

All Envoys are the same: one worker, and an admin interface that says when listeners and
clusters have come from Consul.
"""

import http.client
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.starting.dataplane import Dataplane
from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.endpoint import ask
from tests.lab.envoy import EnvoyProcess
from tests.lab.held import Held
from tests.lab.processes import LabError
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

READY_SECONDS = 20.0
LOOK_SECONDS = 0.002

DIRECT = "Envoy alone, on a server's address"
WARM = "this controller, running"
COLD = "this controller, started with it"
DATAPLANE = "consul-dataplane"


class Starts(Held):
    """Starts Envoys in each way, and says how long each took.

    Args:
        cluster: running.
        envoy: the binary.
        dataplane: consul-dataplane's; None: it is not compared.
    """

    def __init__(
        self, cluster: ConsulCluster, envoy: Path, dataplane: Path | None
    ) -> None:
        self._cluster = cluster
        self._envoy = envoy
        self._dataplane = dataplane
        self.controller_ready: list[float] = []
        """How long each cold controller took by itself."""

    def hold(self, stack: ExitStack) -> None:
        """Register the proxies, and start the controller that runs all the time."""
        self._proxies = {
            name: self._cluster.register_proxy(name)
            for name in ("direct", "warm", "cold", "dataplane")
        }
        self._cgroup = stack.enter_context(scratch_cgroup())
        bpffs = stack.enter_context(scratch_bpffs())
        config = self._config(self._cgroup, bpffs, self._entry("direct"))
        self._controller = stack.enter_context(ControllerProcess(config))
        path = self._controller.bootstrap(self._proxies["direct"])
        self._bootstrap = straight(path, self._cluster)

    def cases(self) -> dict[str, Callable[[], float]]:
        """Return each way by its name; each call returns seconds."""
        ways = {DIRECT: self.direct, WARM: self.warm, COLD: self.cold}
        return ways | ({DATAPLANE: self.dataplane} if self._dataplane else {})

    def direct(self) -> float:
        """Start an Envoy whose bootstrap, made before, names a server."""
        begun = time.monotonic()
        with EnvoyProcess(self._envoy, self._bootstrap, cgroup=self._cgroup) as envoy:
            return wait_live(self._admin("direct"), envoy.child.must_run) - begun

    def warm(self) -> float:
        """Register a proxy at the local endpoint, wait for its files, start Envoy."""
        proxy, at = self._proxies["warm"], self._controller.bootstraps / "api.sock"
        begun = time.monotonic()
        entry = self._entry("warm")
        del entry["id"]
        _must(ask(at, "PUT", f"/v1/proxies/{proxy}", entry))
        _must(ask(at, "GET", f"/v1/proxies/{proxy}?wait=bootstrap&timeout=10"))
        path = self._controller.bootstrap(proxy)
        with EnvoyProcess(self._envoy, path, cgroup=self._cgroup) as envoy:
            took = wait_live(self._admin("warm"), envoy.child.must_run) - begun
        _must(ask(at, "DELETE", f"/v1/proxies/{proxy}"))
        return took

    def cold(self) -> float:
        """Start a controller on a host that has nothing, then Envoy."""
        with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
            config = self._config(cgroup, bpffs, self._entry("cold"))
            begun = time.monotonic()
            with ControllerProcess(config) as controller:
                self.controller_ready.append(time.monotonic() - begun)
                path = controller.bootstrap(self._proxies["cold"])
                with EnvoyProcess(self._envoy, path, cgroup=cgroup) as envoy:
                    return wait_live(self._admin("cold"), envoy.child.must_run) - begun

    def dataplane(self) -> float:
        """Start a consul-dataplane, which starts Envoy."""
        begun = time.monotonic()
        with self._one_dataplane() as process:
            return wait_live(self._admin("dataplane"), process.child.must_run) - begun

    def dataplane_again(self, times: int) -> list[float]:
        """End a consul-dataplane and start it again, as a container is.

        Returns:
            For how many seconds there was no Envoy that is configured, each time.
        """
        found: list[float] = []
        for _ in range(times if self._dataplane else 0):
            with self._one_dataplane() as process:
                wait_live(self._admin("dataplane"), process.child.must_run)
                begun = time.monotonic()
            with self._one_dataplane() as process:
                live = wait_live(self._admin("dataplane"), process.child.must_run)
                found.append(live - begun)
        return found

    def _one_dataplane(self) -> Dataplane:
        assert self._dataplane is not None
        proxy, admin = self._proxies["dataplane"], self._admin("dataplane")
        return Dataplane(self._dataplane, self._cluster, proxy, self._envoy, admin)

    def _admin(self, name: str) -> tuple[str, int]:
        return self._cluster.addresses[0], 19400 + list(self._proxies).index(name)

    def _entry(self, name: str) -> dict[str, Any]:
        host, port = self._admin(name)
        proxy = self._proxies[name]
        return {"id": proxy, "node": "host1-virtual", "admin": f"{host}:{port}"}

    def _config(
        self, cgroup: Path, bpffs: Path, proxy: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "consul": {
                "http_addresses": self._cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "proxies": [proxy],
        }


def straight(bootstrap: Path, cluster: ConsulCluster) -> dict[str, Any]:
    """Return a bootstrap with a server's address in place of the VIP."""
    found: dict[str, Any] = json.loads(bootstrap.read_text())
    ads = found["dynamic_resources"]["ads_config"]["grpc_services"][0]
    name = ads["envoy_grpc"]["cluster_name"]
    (xds,) = (c for c in found["static_resources"]["clusters"] if c["name"] == name)
    (group,) = xds["load_assignment"]["endpoints"]
    (endpoint,) = group["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    address |= {"address": cluster.addresses[0], "port_value": cluster.grpc_port}
    return found


def wait_live(admin: tuple[str, int], must_run: Callable[[], None]) -> float:
    """Wait until an Envoy has its configuration; return when that was.

    Raises:
        LabError: it ended, or it has none within `READY_SECONDS`.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if is_live(admin):
            return time.monotonic()
        must_run()
        time.sleep(LOOK_SECONDS)
    raise LabError(f"Envoy at {admin}: no configuration within {READY_SECONDS:g} s")


def is_live(admin: tuple[str, int]) -> bool:
    """Whether an Envoy's admin interface says that it is ready."""
    connection = http.client.HTTPConnection(*admin, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _must(answer: tuple[int, Any]) -> None:
    status, said = answer
    if status >= 300:
        raise LabError(f"the local endpoint answered {status}: {said}")
