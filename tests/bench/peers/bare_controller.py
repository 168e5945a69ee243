"""Our controller on a real cluster, with so many proxies and no Envoy."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.consul import ConsulCluster
from tests.lab.controller import ControllerProcess
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_bpffs, scratch_cgroup

START_SECONDS = 120.0


@contextmanager
def controller_of(
    cluster: ConsulCluster, proxies: list[str], node: str
) -> Iterator[ControllerProcess]:
    """Run it until every proxy is served."""
    with scratch_cgroup() as cgroup, scratch_bpffs() as bpffs:
        config = {
            "consul": {
                "http_addresses": cluster.http_addresses,
                "tls": {"disabled": True},
            },
            "kernel": {"cgroup": str(cgroup), "bpffs": str(bpffs)},
            "proxies": [{"id": proxy, "node": node} for proxy in proxies],
        }
        with ControllerProcess(config) as controller:
            files = controller.bootstraps
            wait_until(
                lambda: len(list(files.glob("*/bootstrap.json"))) == len(proxies),
                f"{len(proxies)} proxies served",
                START_SECONDS,
            )
            yield controller
