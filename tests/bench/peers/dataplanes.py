"""Real consul-dataplane processes, one for each pod, with or without an Envoy."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.lab.consul import ConsulCluster
from tests.lab.held import Held
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import Netns, scratch_cgroup, scratch_directory

READY = "starting proxy lifecycle management server"
"""The last line of its log at a start that went well."""
AT_ONCE = 10
ADMIN_PORT, GRACEFUL_PORT = 24000, 26000
"""The first process's; each has its own, since they share a network namespace. Below
those that the kernel gives to connections."""


class Dataplanes(Held):
    """One consul-dataplane for each proxy, which its Envoy belongs to.

    Without an Envoy it starts a process that sleeps, so its own memory is its own.
    """

    def __init__(
        self,
        binary: Path,
        cluster: ConsulCluster,
        proxies: Sequence[str],
        node: str,
        *,
        envoy: Path | None = None,
        netns: Netns | None = None,
    ) -> None:
        """Prepare; entering starts them all.

        Args:
            binary: consul-dataplane.
            cluster: where to ask; in plaintext.
            proxies: the ids, registered on `node`.
            node: the catalog's.
            envoy: a real one, or None.
            netns: where to run.
        """
        self._binary = binary
        self._cluster = cluster
        self._proxies = proxies
        self._node = node
        self._envoy = envoy
        self._netns = netns
        self.children: list[Child] = []

    def hold(self, stack: ExitStack) -> None:
        """Start them, a few at once, and wait until each is done starting."""
        self._directory = stack.enter_context(scratch_directory())
        self._cgroup = stack.enter_context(scratch_cgroup())  # ends the Envoys, too
        stack.callback(self._kill)
        for begin in range(0, len(self._proxies), AT_ONCE):
            few = self._proxies[begin : begin + AT_ONCE]
            started = [self._start(proxy, begin + n) for n, proxy in enumerate(few)]
            self.children += started
            for child in started:
                wait_until(partial(_is_ready, child), f"{child} ready")

    @property
    def pids(self) -> list[int]:
        """The processes, without Envoy."""
        return [child.pid for child in self.children]

    def _start(self, proxy: str, n: int) -> Child:
        envoy = self._envoy or self._sleeper()
        options = {
            "addresses": f"exec=/bin/echo {' '.join(self._cluster.addresses)}",
            "grpc-port": self._cluster.grpc_port,
            "proxy-node-name": self._node,
            "proxy-id": proxy,
            "envoy-executable-path": envoy,
            "envoy-concurrency": 1,
            "envoy-admin-bind-port": ADMIN_PORT + n,
            "graceful-port": GRACEFUL_PORT + n,
        }
        words = [f"-{key}={value}" for key, value in options.items()]
        return Child(
            f"dataplane-{n}",
            [self._binary, "-tls-disabled", *words],
            self._directory,
            cgroup=self._cgroup,
            netns=self._netns,
        )

    def _sleeper(self) -> Path:
        path = self._directory / "envoy"
        if not path.exists():
            path.write_text("#!/bin/sh\nexec sleep infinity\n")
            path.chmod(0o755)
        return path

    def _kill(self) -> None:
        for child in self.children:
            child.kill()


def _is_ready(child: Child) -> bool:
    child.must_run()
    logs = (child.stdout, child.stderr)
    return any(READY in log.read_text(errors="replace") for log in logs)
