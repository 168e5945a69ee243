"""The project's own manifests, as its users apply them."""

import json
from pathlib import Path

from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.cluster import Cluster

NAME = "consul-ebpf"
DRIVER = "csi.consul-ebpf.io"
CA_DIRECTORY = "/consul/tls/ca"
LISTEN = "127.0.0.1:9802"

DEPLOY = Path(__file__).parents[3] / "deploy" / "kubernetes"


def manifests(cluster: Cluster, file: str = "node.yaml") -> list[Object]:
    """Return the objects of a file of them."""
    path = f"--filename={DEPLOY / file}"
    text = cluster.kubectl("create", "--dry-run=client", "--output=json", path).strip()
    made: list[Object] = []
    while text:  # one after the other
        found, end = json.JSONDecoder().raw_decode(text)
        made.append(found)
        text = text[end:].strip()
    return made
