"""What real pods on one node cost, and what they notice: `nox -s scale -- cluster`.

On the lab's cluster, as root: pods that are made at once, each with a login of its own
at an auth method that takes some a second; then a controller that is replaced and
killed, a kubelet that is restarted, and more pods that come and go.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from tests.lab.kubernetes.api import Object
from tests.lab.kubernetes.envoy import PodEnvoy
from tests.lab.kubernetes.life import Life
from tests.lab.kubernetes.mesh import PodsMesh
from tests.lab.kubernetes.served import ServedPods
from tests.lab.parts import ensure_consul, find_envoy
from tests.lab.processes import LabError, pss_of
from tests.scale.pods import cpu_of

PODS = 30
MORE = 5  # the node has no room for many more: their init containers ask for CPU
READY_SECONDS = 180.0
IDLE_SECONDS = 20.0
SETTLE_SECONDS = 30.0
"""Longer than Envoy takes to notice a connection that is dead."""


def measure(life: Life) -> None:
    """Start the pods, disturb them, end them; print the figures."""
    names = tuple(f"web-{n}" for n in range(PODS))
    pid, begun = life.controller.pid, time.monotonic()
    before = cpu_of(pid)
    life.start(*names, wait=False)
    pods = [life.pods.wait_ready(name, timeout=READY_SECONDS) for name in names]
    took = sorted(ready_after(pod) for pod in pods)
    print(f"{PODS} pods: all ready after {time.monotonic() - begun:.1f} s")
    print(f"  each: median {took[len(took) // 2]:.0f} s, last {took[-1]:.0f} s")
    print(
        f"  controller: {cpu_of(pid) - before:.1f} s of CPU, {pss_of(pid):.0f} MB PSS"
    )
    before = cpu_of(pid)
    time.sleep(IDLE_SECONDS)
    idle = 100 * (cpu_of(pid) - before) / IDLE_SECONDS
    print(f"  idle: {idle:.1f} % of one CPU")

    envoys = [PodEnvoy(pod) for pod in pods]
    disturbances: dict[str, Callable[[], object]] = {
        "the DaemonSet's pod is replaced": life.controller.replace,
        "the controller is killed": life.controller.kill,
        "kubelet is restarted": lambda: restart_kubelet(life),
    }
    for what, disturb in disturbances.items():
        before_it = [envoy.upstream_cx_total for envoy in envoys]
        disturb()
        life.controller.wait_ready()
        time.sleep(SETTLE_SECONDS)
        print(f"{what}: {broken(envoys, before_it)} streams broke")
    before_it = [envoy.upstream_cx_total for envoy in envoys]
    more = tuple(f"more-{n}" for n in range(MORE))
    life.start(*more, wait=False)
    for name in more:
        life.pods.wait_ready(name, timeout=READY_SECONDS)
    life.end(*more)
    # A server sends streams elsewhere when there are fewer proxies, whoever asks it.
    print(f"{MORE} more pods come and go: {broken(envoys, before_it)} streams broke")

    begun = time.monotonic()
    life.end(*names)
    print(f"{PODS} pods deleted: nothing left after {time.monotonic() - begun:.1f} s")


def broken(envoys: Sequence[PodEnvoy], opened: Sequence[int]) -> int:
    """Return how many Envoys have another xDS stream than before, or none."""
    pairs = zip(envoys, opened, strict=True)
    return sum(
        e.upstream_cx_total != before or not e.connected_state for e, before in pairs
    )


def ready_after(pod: Object) -> float:
    """Return the seconds from a pod's creation until it was ready."""
    (ready,) = (c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    made = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    then = datetime.fromisoformat(ready["lastTransitionTime"])
    return (then - made).total_seconds()


def restart_kubelet(life: Life) -> None:
    """Stop kubelet, and start it again."""
    life.cluster.stop_kubelet()
    life.cluster.start_kubelet()


def main() -> None:
    """Measure."""
    envoy = find_envoy()
    if envoy is None:
        raise LabError("no Envoy: set ENVOY_BIN")
    with PodsMesh(ensure_consul(), envoy) as mesh, ServedPods(mesh) as served:
        measure(Life(served))


if __name__ == "__main__":
    main()
