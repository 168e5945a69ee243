"""The whole: a Consul cluster, a controller, and Envoys that know only their VIPs."""

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.envoy import EnvoyProcess
from tests.lab.held import Held
from tests.lab.processes import POLL_SECONDS, LabError
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

STEADY_SECONDS = 0.3
"""Seconds a connection must last to count. A server that is full, or going away,
accepts a stream and ends it within milliseconds."""


@dataclass(frozen=True)
class Connected:
    """Where an Envoy got to, and how many seconds that took."""

    server: str
    after: float


class Mesh(Held):
    """A controller on a cluster, and one Envoy for each registered proxy.

    The Envoys live in a scratch cgroup, and the controller attaches there and pins in
    a scratch bpffs: the rest of the machine is not touched.
    """

    def __init__(
        self,
        cluster: ConsulCluster,
        envoy: Path,
        *,
        proxies: int = 6,
        config: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare.

        Args:
            cluster: running; leaving takes the proxies out of its catalog, if it can.
            envoy: the binary.
            proxies: how many, `web-1-sidecar-proxy` and so on.
            config: tables of the controller's configuration to put in place of ours.
            env: of the controller's first start: another version's.
        """
        self.cluster = cluster
        self._envoy = envoy
        self._services = [f"web-{n}" for n in range(1, proxies + 1)]
        self._more = dict(config or {})
        self._env = env
        self.envoys: dict[str, EnvoyProcess] = {}

    def hold(self, stack: ExitStack) -> None:
        """Register the proxies and start the controller; no Envoy yet."""
        for service in self._services:
            self.cluster.register_proxy(service)
            stack.callback(self._deregister, service)
        self.bpffs = stack.enter_context(scratch_bpffs())
        self.cgroup = stack.enter_context(scratch_cgroup())
        controller = ControllerProcess(self._configuration(), env=self._env)
        self.controller = stack.enter_context(controller)

    def _deregister(self, service: str) -> None:
        with suppress(OSError):  # a cluster that lost too many servers takes no writes
            self.cluster.deregister(service)

    def _configuration(self) -> dict[str, Any]:
        host = self.cluster.addresses[0]
        proxies = [
            {
                "id": f"{service}-sidecar-proxy",
                "node": "host1-virtual",
                "service": service,
                "admin": f"{host}:{19000 + n}",
            }
            for n, service in enumerate(self._services, 1)
        ]
        return {
            "consul": {
                "http_addresses": self.cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(self.cgroup), "bpffs": str(self.bpffs)},
            "proxies": proxies,
            **self._more,
        }

    def start_envoys(
        self,
        timeout: float = 10.0,
        *,
        without: Collection[str] = (),
        doomed: Collection[str] = (),
    ) -> dict[str, Connected]:
        """Start every proxy's Envoy; return when all are connected, and where.

        Args:
            timeout: seconds.
            without: proxies whose Envoys are not started.
            doomed: proxies whose Envoys cannot connect: nobody waits for them.

        Raises:
            LabError: one was not connected within `timeout` seconds.
        """
        proxies = [f"{service}-sidecar-proxy" for service in self._services]
        bootstraps = {
            proxy: self.controller.bootstrap(proxy)
            for proxy in proxies
            if proxy not in without
        }
        started = time.monotonic()
        for proxy, path in bootstraps.items():
            envoy = EnvoyProcess(self._envoy, path, cgroup=self.cgroup)
            self.envoys[proxy] = self._stack.enter_context(envoy)
        waited = [proxy for proxy in bootstraps if proxy not in doomed]
        return self.wait_connected(waited, since=started, timeout=timeout)

    def on_server(self, i: int) -> list[str]:
        """Return the proxies connected to a server, by the kernel's account."""
        endpoint = self.cluster.grpc_endpoints[i]
        return [
            proxy
            for proxy, envoy in self.envoys.items()
            if envoy.xds_server(self.cluster.grpc_port) == endpoint
        ]

    def kill_server(self, i: int, timeout: float = 10.0) -> dict[str, Connected]:
        """SIGKILL a server; return where its proxies went, and after how long.

        Raises:
            LabError: one was not connected again within `timeout` seconds.
        """
        bereft = self.on_server(i)
        killed = time.monotonic()
        self.cluster.kill(i)
        return self.wait_connected(bereft, since=killed, timeout=timeout)

    def wait_connected(
        self,
        proxies: Iterable[str] | None = None,
        *,
        since: float,
        timeout: float,
        but: int | None = None,
    ) -> dict[str, Connected]:
        """Wait until these proxies (all) have an xDS stream that lasts.

        Args:
            proxies: ids.
            since: `time.monotonic()` to count from; exact to POLL_SECONDS.
            timeout: seconds, from `since`.
            but: a server that does not count; one that died in silence keeps its
                connections for a while.

        Raises:
            LabError: names those that had none in time.
        """
        dead = None if but is None else self.cluster.grpc_endpoints[but]
        waiting = list(self.envoys if proxies is None else proxies)
        first_seen: dict[str, Connected] = {}
        done: dict[str, Connected] = {}
        while waiting:
            for proxy in waiting:
                server = _stream(self.envoys[proxy], self.cluster.grpc_port)
                now = time.monotonic() - since
                seen = first_seen.get(proxy)
                if server is None or server == dead:
                    first_seen.pop(proxy, None)
                elif seen is None or seen.server != server:
                    first_seen[proxy] = Connected(server, now)
                elif now - seen.after >= STEADY_SECONDS:
                    done[proxy] = seen
            waiting = [proxy for proxy in waiting if proxy not in done]
            if waiting and now > timeout:
                raise LabError(f"not connected in {timeout:g} s: {', '.join(waiting)}")
            time.sleep(POLL_SECONDS)
        return done


def _stream(envoy: EnvoyProcess, port: int) -> str | None:
    envoy.child.must_run()
    server = envoy.xds_server(port)
    try:
        connected = envoy.connected_state
    except OSError:  # its admin interface is not there yet
        connected = False
    return server if connected else None
