"""The webhook itself, as a process on the host, and what has the API server ask it."""

import socket
import sys
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from consul_ebpf.kubernetes.webhook.admission import PATH
from tests.lab.certificates import Authority
from tests.lab.held import Held
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.hooks import pods_webhook
from tests.lab.kubernetes.images import DATAPLANE
from tests.lab.processes import Child, wait_until
from tests.lab.scratch import scratch_directory


class Webhook(Held):
    """`consul-ebpf webhook` with certificates in files; the chart's rules."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        name: str = "zz-consul-ebpf",
        settings: str = "",
        failure_policy: str = "Fail",
    ) -> None:
        """Prepare.

        Args:
            cluster: that runs.
            name: says where in the order of webhooks it comes.
            settings: more lines of its configuration.
            failure_policy: what the API server does while it does not answer.
        """
        self._cluster = cluster
        self._name = name
        self._settings = settings
        self._failure_policy = failure_policy

    def hold(self, stack: ExitStack) -> None:
        """Serve, and have the API server ask."""
        directory = stack.enter_context(scratch_directory())
        authority = Authority(lifetime=timedelta(days=2))
        issued = authority.issue(("127.0.0.1",))
        (directory / "cert.pem").write_text(issued.cert)
        (directory / "key.pem").write_text(issued.key)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = directory / "webhook.toml"
        config.write_text(
            f"{self._settings}\n"
            f'[webhook]\nlisten = "127.0.0.1:{port}"\ncertificates = "files"\n'
            f'cert = "{directory}/cert.pem"\nkey = "{directory}/key.pem"\n'
            f'envoy_image = "{DATAPLANE}"\n'
        )
        command = [sys.executable, "-m", "consul_ebpf", "webhook"]
        argv = [*command, "--config", str(config)]
        self.process = Child("webhook", argv, directory)
        stack.callback(self.process.kill)
        wait_until(lambda: "ready:" in self.process.stdout.read_text(), "the webhook")
        url = f"https://127.0.0.1:{port}{PATH}"
        self._cluster.apply(self._configuration(url, authority.pem))
        stack.callback(
            self._cluster.kubectl,
            "delete",
            "mutatingwebhookconfiguration",
            self._name,
            "--ignore-not-found",
        )

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.process.stderr.read_text()

    def _configuration(self, url: str, ca: str) -> dict[str, Any]:
        label = {
            "key": "consul-ebpf.io/rewrite",
            "operator": "NotIn",
            "values": ["disabled"],
        }
        return pods_webhook(
            self._name,
            "pods.consul-ebpf.io",
            url,
            ca,
            label,
            failurePolicy=self._failure_policy,
            reinvocationPolicy="IfNeeded",
            timeoutSeconds=5,
        )
