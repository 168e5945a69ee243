"""`python -m tests.lab.kubernetes up`: a cluster that stays until Ctrl-C."""

import signal
import sys
import threading

from tests.lab.kubernetes import binaries
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.kubernetes.images import consul
from tests.lab.parts import find_envoy


def main() -> None:
    """Start a cluster with all images there are, and say how it is reached."""
    if sys.argv[1:] != ["up"]:
        sys.exit("python -m tests.lab.kubernetes up")
    found = binaries.ensure()
    envoy = find_envoy()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, lambda *_: over.set())
    with Cluster(consul(envoy) if envoy else ()) as cluster:
        print(f"export KUBECONFIG={cluster.kubeconfig}")
        print(f"export PATH={found}:$PATH")
        print(f"# kubelet's directory: {cluster.kubelet_directory}")
        print("# Ctrl-C ends it", flush=True)
        while not over.wait(1):
            pass


main()
