"""`python -m tests.lab.kubernetes up`: a cluster that stays until Ctrl-C.

`up mesh` starts Consul as well, and what stands in for consul-k8s; `up served` the
controller on top of that, and what rewrites pods.
"""

import signal
import sys
import threading
from contextlib import ExitStack

from tests.lab.go_build import PartMissingError
from tests.lab.kubernetes import binaries
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.images import consul
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.served import ServedPods
from tests.lab.parts import ensure_consul, find_envoy
from tests.lab.processes import LabError

USAGE = "python -m tests.lab.kubernetes up [mesh | served]"


def main() -> None:
    """Start what is asked for and say how it is reached."""
    if sys.argv[1:] not in (["up"], ["up", "mesh"], ["up", "served"]):
        sys.exit(USAGE)
    envoy = find_envoy()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, lambda *_: over.set())
    with ExitStack() as stack:
        if sys.argv[2:]:
            if envoy is None:
                raise PartMissingError("no Envoy: set ENVOY_BIN")
            mesh = stack.enter_context(PodsMesh(ensure_consul(), envoy))
            cluster = mesh.cluster
            servers = mesh.consul.servers
            print(f"export CONSUL_HTTP_ADDR={servers.http_addresses[0]}")
            print(f"export CONSUL_HTTP_TOKEN={servers.management_token}")
            if "served" in sys.argv:
                stack.enter_context(ServedPods(mesh))
        else:
            cluster = Cluster(consul(envoy) if envoy else ())
            stack.enter_context(cluster)
        print(f"export KUBECONFIG={cluster.kubeconfig}")
        print(f"export PATH={binaries.ensure()}:$PATH")
        print(f"# kubelet's directory: {cluster.kubelet_directory}")
        print("# Ctrl-C ends it", flush=True)
        while not over.wait(1):
            pass


try:
    main()
except (PartMissingError, LabError) as error:
    sys.exit(str(error))
