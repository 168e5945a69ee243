"""The driver is away, killed or replaced, kubelet starts again, the node reboots."""

import signal
from collections.abc import Iterator

import pytest

from tests.lab.kubernetes.api import restarts
from tests.lab.kubernetes.life import DRIVER_AWAY, Life
from tests.lab.kubernetes.processes import all_named
from tests.lab.kubernetes.served import ServedPods
from tests.lab.processes import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubernetes,
    pytest.mark.consul,
    pytest.mark.envoy,
]


@pytest.fixture(scope="module")
def life(served: ServedPods) -> Iterator[Life]:
    """Pods stay until the last test, unless one wants a node without any."""
    life = Life(served)
    yield life
    life.end_all()


def test_fault_k_driver_down_at_start(life: Life) -> None:
    """The pod waits, and says for what; it runs once the driver is there."""
    with life.down():
        life.start("early", wait=False)
        life.pods.wait_event("early", DRIVER_AWAY)
    assert restarts(life.ready("early")) == 0


def test_fault_k_driver_down_while_pods_run(life: Life) -> None:
    """The kernel leads an Envoy on from a server that dies meanwhile."""
    (pod,) = life.start("alone")
    envoy = life.envoy(pod)
    with life.down():
        lost = envoy.server or ""
        index = life.consul.servers.grpc_endpoints.index(lost)
        life.consul.servers.kill(index)
        try:
            wait_until(lambda: (envoy.server or lost) != lost, "another server")
            envoy.wait_connected()
        finally:
            life.consul.servers.restart(index)
    assert restarts(life.ready("alone")) == 0
    assert life.vip(pod)


def test_fault_k_driver_down_at_delete(life: Life) -> None:
    """The object stays until the driver is back; then nothing of the pod is left."""
    (pod,) = life.start("late")
    with life.down():
        life.pods.delete("late")
        wait_until(lambda: not life.processes(pod), "the end of its containers")
        assert life.pods.get("late")
        assert life.volume(pod).is_mount()
    life.end("late")


def test_fault_k_pod_deleted_meanwhile(life: Life) -> None:
    """By force, so that the API server has forgotten it when the driver is back."""
    (pod,) = life.start("forced")
    with life.down():
        life.pods.delete("forced", grace=0)
        life.pods.wait_gone("forced")
        assert life.volume(pod).is_mount()
    life.end("forced")
    wait_until(lambda: not life.volume(pod).exists(), "the end of its volume")


def test_fault_k_controller_killed_while_pods_start(life: Life) -> None:
    """Between publish and registration, too; its tables and mounts stay."""
    with life.mesh.registrar.held_back():
        life.start("halfway", wait=False)
        life.wait_waiting("halfway", "no registration of pod default/halfway")
        life.controller.kill()
        life.start("behind", wait=False)
    for name in ("halfway", "behind"):
        assert restarts(life.ready(name)) == 0


def test_fault_k_upgrade_of_the_daemonset(life: Life) -> None:
    """No stream ends, and pods that start meanwhile wait."""
    pods = life.start("first", "second", "third")
    envoys = [life.envoy(pod) for pod in pods]
    opened = [envoy.upstream_cx_total for envoy in envoys]
    before = life.controller.pod()["metadata"]
    life.pods.delete(before["name"], before["namespace"])
    life.start("fourth", wait=False)
    life.controller.wait_ready(but=before["uid"])
    assert restarts(life.ready("fourth")) == 0
    assert [envoy.upstream_cx_total for envoy in envoys] == opened
    assert all(envoy.connected_state for envoy in envoys)


def test_fault_k_kubelet_restart(life: Life) -> None:
    """Nothing is mounted again, no pod restarts, and new ones start."""
    (pod,) = life.start("through")
    envoy, mounted = life.envoy(pod), life.mounted()
    opened = envoy.upstream_cx_total
    life.cluster.stop_kubelet()
    life.cluster.start_kubelet()
    life.start("thereafter")
    assert life.mounted()[: len(mounted)] == mounted
    assert (envoy.upstream_cx_total, restarts(life.ready("through"))) == (opened, 0)


def test_fault_k_envoy_killed(life: Life) -> None:
    """Its container starts again by itself, on the same VIP and the same files."""
    (pod,) = life.start("crashes")
    vip, envoy = life.vip(pod), life.envoy(pod)
    life.kill(envoy.pid, signal.SIGKILL)
    wait_until(lambda: restarts(life.pods.get("crashes") or pod) == 1, "a restart")
    again = life.ready("crashes")
    life.envoy(again)
    assert life.vip(again) == vip


def test_fault_k_node_reboot(life: Life) -> None:
    """Nothing of /run, no mount and no table is left; the pods come back by themselves,
    and the servers are those of the file on the disk, for Consul comes back later."""
    life.end_all()
    (pod,) = life.start("reboots")
    life.envoy(pod)
    life.power_off()
    with life.consul_away():
        life.power_on()
        life.controller.wait_ready()
        life.wait_volume("reboots")
    wait_until(lambda: restarts(life.pods.get("reboots") or pod), "its restart")
    again = life.ready("reboots")
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    life.envoy(again)
    life.start("booted")


def test_fault_k_uninstall(life: Life) -> None:
    """With the last pod gone, the end of the DaemonSet leaves nothing; while one runs,
    it leaves all that the pod needs."""
    life.end_all()
    (pod,) = life.start("last")
    with life.down():
        assert "consul-ebpf" in life.pinned()
        assert life.envoy(pod).connected_state
    life.end("last")
    attached = life.attached()
    with life.down():
        assert life.pinned() == []
        assert life.attached() < attached
        assert life.mounted() == []
        assert life.sockets() == []
        assert all_named("consul_ebpf run") == []
    life.start("anew")
