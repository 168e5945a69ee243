"""The lab's own cluster: it starts, runs a pod, and leaves nothing."""

import os
import signal
import subprocess
import sys

import pytest

from tests.lab.kubernetes import host, images, links
from tests.lab.kubernetes.api import Object, restarts
from tests.lab.kubernetes.cluster import Cluster
from tests.lab.leftovers import Traces, sweep
from tests.lab.processes import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.kubernetes]


def sleeping(name: str) -> Object:
    container = {
        "name": "application",
        "image": images.APPLICATION,
        "imagePullPolicy": "Never",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container]},
    }


def test_a_pod_runs_and_nothing_is_left() -> None:
    """Neither of a pod that was deleted nor of one that still ran at the end."""
    before = Traces.now()
    with Cluster() as cluster:
        for name in ("first", "second"):
            cluster.pods.create(sleeping(name))
        for name in ("first", "second"):
            pod = cluster.pods.wait_ready(name)
            assert restarts(pod) == 0
            assert pod["status"]["podIP"].startswith("10.244.9.")
        assert cluster.kubectl("exec", "first", "--", "echo", "hello") == "hello\n"
        cluster.pods.delete("first")
        cluster.pods.wait_gone("first")
    assert before.left_since() == []


def test_after_a_power_cut_pods_run_again() -> None:
    """In a new sandbox and a new cgroup, with another address."""
    with Cluster() as cluster:
        cluster.pods.create(sleeping("first"))
        before = cluster.pods.wait_ready("first")
        cluster.power_off()
        cluster.power_on()
        wait_until(lambda: restarts(cluster.pods.get("first") or before), "a restart")
        after = cluster.pods.wait_ready("first")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert cluster.kubectl("exec", "first", "--", "echo", "hello") == "hello\n"


def test_what_a_killed_run_left_is_gone_after_the_next_look() -> None:
    """SIGKILL: the pods outlive it, until somebody else looks."""
    before = Traces.now()
    up = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.kubernetes", "up"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert up.stdout
    try:
        for line in up.stdout:
            if line.startswith("# Ctrl-C"):
                break
        else:
            raise AssertionError(f"it ended with {up.wait()}")
    finally:
        os.kill(up.pid, signal.SIGKILL)
        up.wait()
        up.stdout.close()
    wait_until(lambda: links.BRIDGE in " ".join(host.traces() or ()), "what it left")
    sweep()
    assert before.left_since() == []
