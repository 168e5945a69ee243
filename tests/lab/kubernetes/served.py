"""A mesh whose pods the controller serves: its DaemonSet, and its webhook."""

from contextlib import ExitStack

from tests.lab.held import Held
from tests.lab.kubernetes.daemonset import ControllerDaemonSet
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.webhook import Webhook


class ServedPods(Held):
    """Pods that are made from now on have a plain Envoy."""

    def __init__(self, mesh: PodsMesh) -> None:
        """Prepare; the mesh runs."""
        self.mesh = mesh
        self.controller = ControllerDaemonSet(mesh)

    def hold(self, stack: ExitStack) -> None:
        """The DaemonSet first: a rewritten pod waits for it."""
        stack.enter_context(self.controller)
        stack.enter_context(Webhook(self.mesh.cluster))

    def tokens(self, *services: str) -> list[str]:
        """Return the descriptions of services' tokens: each has its login's meta."""
        return [
            each["Description"]
            for each in self.mesh.consul.tokens()
            if any(
                identity["ServiceName"] in services
                for identity in each.get("ServiceIdentities") or ()
            )
        ]
