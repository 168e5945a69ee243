"""Whose VIP is whose, as a host changes. Files stand in for namespaces: only their
identity matters."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consul_ebpf import Binding, KernelError, PrivilegeError, Proxy
from consul_ebpf.kernel import capabilities
from consul_ebpf.kernel.mountinfo import Mount
from consul_ebpf.kernel.pods import Binder, cgroup_of
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.values import ProxyFiles
from consul_ebpf.testing import FakeNamespaces
from tests.lab.scratch import cgroup2_mount, scratch_cgroup, scratch_netns

FREE = Proxy("free", "host1")


@pytest.fixture
def netns(tmp_path: Path) -> Path:
    path = tmp_path / "netns"
    path.touch()
    return path


def test_a_proxy_of_no_known_place_is_not_bound() -> None:
    """Nobody is asked."""
    namespaces = FakeNamespaces()
    assert Binder(namespaces).look([FREE]) == {("", ""): Binding()}
    assert namespaces.asked == 0


def test_a_namespace_is_asked_for_once(netns: Path) -> None:
    """As long as it is the same, however often one looks."""
    namespaces = FakeNamespaces({str(netns): 77})
    binder = Binder(namespaces)
    web = Proxy("web", "host1", netns=str(netns))
    for _ in range(3):
        assert binder.look([web, FREE])[str(netns), ""] == Binding(netns=77)
    assert namespaces.asked == 1


def test_fault_68_a_pod_that_restarts_is_bound_to_its_new_namespace(
    netns: Path,
) -> None:
    """The same path, another namespace: the old cookie leads nowhere any more."""
    namespaces = FakeNamespaces({str(netns): 77})
    binder = Binder(namespaces)
    web = Proxy("web", "host1", netns=str(netns))
    binder.look([web])
    namespaces.cookies[str(netns)] = 78
    fresh = netns.with_name("fresh")
    fresh.touch()
    fresh.replace(netns)
    assert binder.look([web])[str(netns), ""] == Binding(netns=78)


def test_fault_29_a_namespace_that_is_gone_takes_the_binding_along(
    netns: Path,
) -> None:
    """In words that name it; back again it is asked for anew."""
    namespaces = FakeNamespaces({str(netns): 77})
    binder = Binder(namespaces)
    web = Proxy("web", "host1", netns=str(netns))
    binder.look([web])
    netns.unlink()
    told = binder.look([web])[str(netns), ""]
    assert isinstance(told, Missing)
    assert told.gone
    assert str(netns) in str(told)
    netns.touch()
    assert binder.look([web])[str(netns), ""] == Binding(netns=77)


def test_a_failure_to_look_is_told(netns: Path) -> None:
    """A missing privilege, or nobody to ask: the proxy is refused, never unbound."""
    web = Proxy("web", "host1", netns=str(netns))
    namespaces = FakeNamespaces({str(netns): 77})
    namespaces.failure = PrivilegeError("CAP_SYS_ADMIN is missing")
    assert "CAP_SYS_ADMIN" in str(Binder(namespaces).look([web])[str(netns), ""])
    assert str(netns) in str(Binder(None).look([web])[str(netns), ""])


class SlowNamespaces(FakeNamespaces):
    """Takes its time for some paths, as a file system that hangs does."""

    def cookie(self, path: str) -> int:
        if "slow" in path:
            time.sleep(0.5)
            raise KernelError(f"{path}: no answer")
        return super().cookie(path)


def test_fault_100_paths_that_take_long_keep_no_others_waiting(
    tmp_path: Path,
) -> None:
    """A round ends soon, and after some of them every fast one is told."""
    slow = [Proxy(f"slow-{n}", "h", netns=f"{tmp_path}/slow-{n}") for n in range(4)]
    fast = [Proxy(f"fast-{n}", "h", netns=f"{tmp_path}/fast-{n}") for n in range(9)]
    for proxy in slow + fast:
        Path(proxy.netns).touch()
    cookies = {proxy.netns: n for n, proxy in enumerate(fast, 1)}
    binder = Binder(SlowNamespaces(cookies))
    for _ in range(3):
        begun = time.monotonic()
        found = binder.look(slow + fast)
        assert time.monotonic() - begun < 2
    for proxy in fast:
        assert isinstance(found[proxy.netns, ""], Binding)
    for proxy in slow:
        assert isinstance(found[proxy.netns, ""], Missing)


@pytest.mark.parametrize("path", ["/a\0b", "/\ud800", "/" + 5000 * "a", "/proc/x"])
def test_fault_99_any_path_is_told_in_one_line(path: str) -> None:
    """A proxy's, whatever it holds: it is refused and the others are looked at."""
    for proxy in (
        Proxy("web", "host1", netns=path),
        Proxy("web", "host1", cgroup=path),
    ):
        found = Binder(FakeNamespaces()).look([proxy, FREE])
        assert found["", ""] == Binding()
        assert str(found[proxy.netns, proxy.cgroup]).isprintable()


def test_fault_k_mounts_are_read_once_for_new_cgroups() -> None:
    """Not for each of a hundred pods, nor again while the cgroups are the same."""
    reads = []

    def mounts() -> list[Mount]:
        reads.append(1)
        return [Mount(Path("/proc"), "cgroup2", "/")]  # its inode is 1, as there

    binder = Binder(None, mounts)
    pods = [Proxy(each, "n", cgroup=f"/proc/sys/{each}") for each in ("fs", "vm")]
    for _ in range(3):
        found = binder.look(pods)
        for pod in pods:
            inode = Path(pod.cgroup).stat().st_ino
            assert found["", pod.cgroup] == Binding(cgroup=inode, level=2)
    assert len(reads) == 1
    binder.look([*pods, Proxy("net", "n", cgroup="/proc/sys/net")])
    assert len(reads) == 2


def test_fault_k_the_cgroup_of_a_pod_that_ends_is_no_fault(tmp_path: Path) -> None:
    """Its VIP stays bound to where nobody is; another proxy's is withdrawn."""
    files = ProxyFiles(str(tmp_path), exists_already=True)
    web = Proxy("web", "n", cgroup=f"{tmp_path}/a")
    pod = Proxy("pod", "n", cgroup=f"{tmp_path}/b", files=files)
    found = Binder(None).look([web, pod])
    told, quiet = found["", web.cgroup], found["", pod.cgroup]
    assert isinstance(told, Missing)
    assert isinstance(quiet, Missing)
    assert (told.gone, told.quiet) == (True, False)
    assert (quiet.gone, quiet.quiet) == (False, True)


@pytest.mark.kernel
def test_a_namespace_that_is_not_ours_to_see_is_told_by_its_process() -> None:
    """As a controller without privileges meets a pod's: asked for once, too."""
    namespaces = FakeNamespaces()
    with scratch_netns() as netns:
        web = Proxy("web", "host1", netns=str(netns.path))
        namespaces.cookies[str(netns.path)] = 77

        def look() -> None:
            binder = Binder(namespaces)
            for _ in range(3):
                assert binder.look([web])[str(netns.path), ""] == Binding(netns=77)
            assert namespaces.asked == 1

        unprivileged(look)
    unprivileged(lambda: named_as_gone(namespaces, web))


def named_as_gone(namespaces: FakeNamespaces, web: Proxy) -> None:
    told = Binder(namespaces).look([web])[web.netns, ""]
    assert "is not there" in str(told)


def unprivileged(work: Callable[[], None]) -> None:
    """Do it in a child without capabilities."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            capabilities.keep_only(())
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.kernel
def test_fault_105_a_cgroup_is_told_by_its_inode_and_depth(tmp_path: Path) -> None:
    """By any path; the root is 0 deep; what is no cgroup v2 directory is refused."""
    root = cgroup2_mount()
    with scratch_cgroup() as cgroup:
        (cgroup / "child").mkdir()
        assert cgroup_of(str(cgroup)) == (cgroup.stat().st_ino, 1)
        child = cgroup / "child"
        assert cgroup_of(str(child)) == (child.stat().st_ino, 2)
        assert cgroup_of(str(root)) == (1, 0)
        link = tmp_path / "link"
        link.symlink_to(child)
        for path in (child / ".." / "child", link, link / ".." / "child"):
            assert cgroup_of(str(path)) == (child.stat().st_ino, 2)
        with pytest.raises(KernelError, match="no directory"):
            cgroup_of(str(cgroup / "cgroup.procs"))
    with pytest.raises(KernelError, match="not there"):
        cgroup_of(str(cgroup))
    with pytest.raises(KernelError, match="not below a cgroup v2 mount"):
        cgroup_of("/proc")
