"""One consul-dataplane with its Envoy, in a cgroup that ends both."""

from contextlib import ExitStack
from pathlib import Path

from tests.lab.consul import ConsulCluster
from tests.lab.held import Held
from tests.lab.processes import Child
from tests.lab.scratch import scratch_cgroup, scratch_directory


class Dataplane(Held):
    """Entering starts it and does not wait; leaving kills it and its Envoy."""

    def __init__(
        self,
        binary: Path,
        cluster: ConsulCluster,
        proxy: str,
        envoy: Path,
        admin: tuple[str, int],
    ) -> None:
        host, port = admin
        options = {
            "addresses": cluster.addresses[0],
            "grpc-port": cluster.grpc_port,
            "proxy-node-name": "host1-virtual",
            "proxy-id": proxy,
            "envoy-executable-path": envoy,
            "envoy-concurrency": 1,
            "envoy-admin-bind-address": host,
            "envoy-admin-bind-port": port,
            "graceful-addr": host,
            "graceful-port": port + 100,
            "xds-bind-addr": host,
            "log-level": "WARN",
        }
        words = [f"-{key}={value}" for key, value in options.items()]
        self._command = [str(binary), "-tls-disabled", *words]

    def hold(self, stack: ExitStack) -> None:
        """Start it."""
        directory = stack.enter_context(scratch_directory())
        cgroup = stack.enter_context(scratch_cgroup())
        self.child = Child("dataplane", self._command, directory, cgroup=cgroup)
        stack.callback(self.child.kill)
