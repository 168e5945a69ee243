"""Which pods still run consul-dataplane, by a /proc that is made up."""

from pathlib import Path

from consul_ebpf.kubernetes.pods.remaining import find_remaining, pod_of

UID = "0a8c4a3e-5f6b-4a52-9a1f-3f0d7d1a2b3c"


def process(proc: Path, pid: int, command: str, cgroup: str) -> None:
    directory = proc / str(pid)
    directory.mkdir()
    (directory / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    (directory / "cgroup").write_text(cgroup)


def test_processes_are_counted_by_their_pods(tmp_path: Path) -> None:
    """Only consul-dataplane's, only those of pods; what has ended is passed over."""
    other = UID.replace("0a8c", "ffff")
    ours = f"0::/kubepods/burstable/pod{UID}/c1"
    systemd = f"0::/kubepods.slice/kubepods-pod{other.replace('-', '_')}.slice/x.scope"
    process(tmp_path, 1, "/usr/local/bin/consul-dataplane -x", ours)
    process(tmp_path, 2, "consul-dataplane", f"1:cpu:/\n{ours}")
    process(tmp_path, 3, "/bin/sh /usr/local/bin/privileged-consul-dataplane", systemd)
    process(tmp_path, 4, "consul-dataplanes", ours)
    process(tmp_path, 5, "envoy -c consul-dataplane", ours)
    process(tmp_path, 6, "consul-dataplane", "0::/system.slice")
    (tmp_path / "7").mkdir()
    (tmp_path / "self").mkdir()
    assert {UID: 2, other: 1} == find_remaining(tmp_path)


def test_a_pod_is_named_in_both_drivers_ways() -> None:
    """Whatever else the path holds."""
    assert UID == pod_of(f"0::/../../kubelet/kubepods/pod{UID}/x")
    static = "0" * 32
    assert static == pod_of(f"0::/kubepods/pod{static}")
    assert not pod_of("0::/")
    assert not pod_of("0::/podman/x")
