"""A pod's Envoy: what it says of itself, and what the kernel says of its sockets."""

from tests.lab.envoy_admin import EnvoyAdmin
from tests.lab.http_request import request
from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.consul import GRPC_PORT
from tests.lab.kubernetes.processes import netns, pid_of
from tests.lab.processes import wait_until
from tests.lab.sockets import connections

COMMAND = "envoy --config-path"


class PodEnvoy(EnvoyAdmin):
    """The Envoy that a pod's consul-dataplane container has become."""

    def __init__(self, pod: Object) -> None:
        """Find it.

        Raises:
            LabError: the pod runs none.
        """
        self.name = pod["metadata"]["name"]
        self.pid = pid_of(pod, COMMAND)
        self._netns = netns(pod, COMMAND)

    def admin(self, path: str, method: str = "GET") -> bytes:
        """Ask its admin interface; OSError where it does not answer."""
        return request(method, f"http://127.0.0.1:19000{path}", netns=self._netns)

    @property
    def server(self) -> str | None:
        """The server it is connected to, by the kernel's account."""
        for peer in connections(self.pid):
            if peer.endswith(f":{GRPC_PORT}"):
                return peer
        return None

    def wait_connected(self, timeout: float = 10.0) -> str:
        """Wait until it has an xDS stream; return the server it leads to."""

        def look() -> str | None:
            return self.server if self.connected_state else None

        return wait_until(look, f"{self.name}'s Envoy connected", timeout) or ""
