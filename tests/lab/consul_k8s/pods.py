"""Pods as consul-k8s makes them: injected ones, gateways, the telemetry collector.

After what its injector and chart are read to write (August 2026), in their order of
options and variables. `python -m tests.lab.consul_k8s.pods` writes the golden files'
pods.
"""

import json
from pathlib import Path

from tests.lab.consul_k8s.components import api, collector, component, ingress
from tests.lab.consul_k8s.injection import injected
from tests.lab.consul_k8s.pieces import Mesh

GOLDEN = Path(__file__).parents[2] / "golden" / "consul-k8s"

PODS = {
    "default": injected(Mesh()),
    "tproxy-off": injected(Mesh(tproxy=False)),
    "lifecycle-off": injected(Mesh(lifecycle=False)),
    "native-sidecar": injected(Mesh(native=True, acls=True, tls=True)),
    "two-services": injected(
        Mesh(tproxy=False, acls=True, tls=True, services=("web", "web-admin"))
    ),
    "acls-tls": injected(
        Mesh(acls=True, tls=True, extra=("--component-log-level", "upstream:debug"))
    ),
    "ready-listener": injected(Mesh(ready=True)),
    "ipv6": injected(Mesh(six=True, ready=True)),
    "openshift": injected(Mesh(uid=1000799999)),
    "merged-metrics": injected(Mesh(merged=True)),
    "dns": injected(Mesh(dns=True, acls=True, tls=True)),
    "mesh-gateway": component("mesh-gateway", "mesh-gateway", (), privileged=True),
    "ingress-gateway": ingress(),
    "terminating-gateway": component("terminating-gateway", "terminating-gateway", ()),
    "api-gateway": api(),
    "telemetry-collector": collector(),
}
"""The pods of the golden files, by name."""


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, pod in PODS.items():
        text = json.dumps(pod, indent=1)
        (GOLDEN / f"{name}.before.json").write_text(f"{text}\n")
