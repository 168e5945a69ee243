"""Directories of somebody else: written to while they are there. No others."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.base.files import write_atomically
from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.envoy.borrowed import Borrowed, NotThereError
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import PlacedProxy, Proxy, ProxyFiles, Vip

VIP = Vip(IPv4Address("127.64.0.1"), 8502)
TLS = TlsMaterial(ca="CA", cert="", key="")
A_MOUNT = Path("/proc")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def pod(tmp_path: Path) -> Proxy:
    """A proxy whose files go into a volume that kubelet asked for."""
    files = ProxyFiles(
        str(tmp_path / "mount"), "/consul", mode=0o444, exists_already=True
    )
    return Proxy("web", "n", key="pod-1", files=files)


def write_all(files: BootstrapFiles, pod: Proxy) -> list[bool]:
    """Write; say of each file whether it was new."""
    volume = Path(pod.files.directory if pod.files else "")
    before = {each: each.stat().st_ino for each in volume.iterdir()}
    files.write_tls(pod, TLS)
    files.write_token(pod, "secret")
    files.write(PlacedProxy(pod, VIP), {"node": {"id": pod.id}})
    return [before.get(each) != each.stat().st_ino for each in volume.iterdir()]


def remembered(top: Path) -> object:
    """Return the directories elsewhere that a restart would know of."""
    return json.loads((top / "elsewhere.json").read_text())["content"]


def test_it_is_written_to_and_stays(top: Path, pod: Proxy, tmp_path: Path) -> None:
    """With the proxy's own mode; also after a restart that knows of it by its file."""
    volume = tmp_path / "mount"
    volume.mkdir()
    assert write_all(BootstrapFiles(top), pod) == [True] * 3
    assert {each.stat().st_mode & 0o777 for each in volume.iterdir()} == {0o444}
    assert BootstrapFiles(top).prune([]) == ["pod-1"]
    assert list(volume.iterdir()) == []
    assert remembered(top) == {}


def test_what_is_there_is_not_written_again(
    top: Path, pod: Proxy, tmp_path: Path
) -> None:
    """An Envoy reads its files again at every rename; another mode is a change."""
    (tmp_path / "mount").mkdir()
    files = BootstrapFiles(top)
    write_all(files, pod)
    assert write_all(files, pod) == [False] * 3
    later = BootstrapFiles(top)
    later.learn()
    assert write_all(later, pod) == [False] * 3
    assert pod.files is not None
    closed = replace(pod, files=replace(pod.files, mode=0o600))
    assert write_all(later, closed) == [True] * 3


def test_it_is_never_made(top: Path, pod: Proxy, tmp_path: Path) -> None:
    """Not while it is missing, nor where a link is in its place."""
    files = BootstrapFiles(top)
    with pytest.raises(NotThereError, match="is not there"):
        files.write_token(pod, "secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "mount").symlink_to(tmp_path / "other")
    with pytest.raises(NotThereError, match="is not there"):
        files.write_token(pod, "secret")
    assert list((tmp_path / "other").iterdir()) == []
    assert files.prune([]) == []


def test_one_that_is_gone_is_pruned_in_silence(
    top: Path, pod: Proxy, tmp_path: Path
) -> None:
    """It is forgotten, like one that nothing is mounted on any more."""
    (tmp_path / "mount").mkdir()
    files = BootstrapFiles(top)
    write_all(files, pod)
    for each in (tmp_path / "mount").iterdir():
        each.unlink()
    assert files.prune([]) == []
    assert (tmp_path / "mount").exists()
    write_all(files, pod)
    (tmp_path / "mount").rename(tmp_path / "gone")
    assert files.prune([]) == []
    assert remembered(top) == {}


def test_who_removes_a_directory_may_change(
    top: Path, pod: Proxy, tmp_path: Path
) -> None:
    """What was said last counts, and it is remembered once."""
    (tmp_path / "mount").mkdir()
    files = BootstrapFiles(top)
    assert pod.files is not None
    write_all(files, pod)
    write_all(files, replace(pod, files=replace(pod.files, exists_already=False)))
    assert remembered(top) == {str(tmp_path / "mount"): "pod-1"}
    assert BootstrapFiles(top).prune([]) == ["pod-1"]
    assert not (tmp_path / "mount").exists()


def test_what_was_a_mount_is_nothing_without(tmp_path: Path) -> None:
    """Nothing is written below it; one that is mounted again is taken."""
    borrowed, path = Borrowed(), tmp_path / "mount"
    path.mkdir()
    plain, mount = os.open(path, os.O_PATH), os.open(A_MOUNT, os.O_PATH)
    try:
        borrowed.check(path, plain)
        borrowed.check(path, mount)
        with pytest.raises(NotThereError, match="not mounted any more"):
            borrowed.check_path(path)
        with pytest.raises(NotThereError):
            write_atomically(
                path / "token.json", b"", check=lambda fd: borrowed.check(path, fd)
            )
        assert list(path.iterdir()) == []
        borrowed.check(path, mount)
        borrowed.keep_only([])
        borrowed.check(path, plain)
    finally:
        os.close(plain)
        os.close(mount)


def test_another_trouble_is_told_as_such(top: Path, pod: Proxy, tmp_path: Path) -> None:
    """Only a directory that is not there is a quiet one."""
    (tmp_path / "mount" / "token.json").mkdir(parents=True)
    with pytest.raises(ConsulEbpfError, match="cannot write") as caught:
        BootstrapFiles(top).write_token(pod, "secret")
    assert not isinstance(caught.value, NotThereError)


_UNMOUNTED = """
import os, subprocess, sys
from pathlib import Path

from consul_ebpf.envoy.borrowed import NotThereError
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.values import Proxy, ProxyFiles

top, volume = Path(sys.argv[1]), Path(sys.argv[2])
pod = Proxy("web", "n", key="k", files=ProxyFiles(str(volume), exists_already=True))
files = BootstrapFiles(top)
for how in ([], ["--lazy"]):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume], check=True)
    files.write_token(pod, "secret")
    print(os.listdir(volume))
    held = os.open(volume, os.O_PATH) if how else None
    subprocess.run(["umount", *how, volume], check=True)
    try:
        files.write_token(pod, "another")
    except NotThereError as error:
        print("not mounted" in str(error))
    print(os.listdir(volume))
print(files.prune([]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_an_unmounted_volume_gets_no_file(top: Path, tmp_path: Path) -> None:
    """Neither token nor anything else comes to lie on the disk below."""
    (tmp_path / "mount").mkdir()
    ended = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", _UNMOUNTED, top, tmp_path / "mount"],
        capture_output=True,
        text=True,
        check=False,
    )
    told = ["['token.json']", "True", "[]"]
    assert ended.stdout.splitlines() == [*told, *told, "[]"], ended.stderr
