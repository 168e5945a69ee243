"""BootstrapFiles: who may read them, when they are written, what is removed."""

import json
import os
import subprocess
import sys
import tracemalloc
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import ConsulEbpfError, InvalidProxyError
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip

WEB = PlacedProxy(Proxy(id="web-1", node="n"), Vip(IPv4Address("127.64.0.1"), 8502))
DATA = {"node": {"id": "web-1"}}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "consul-ebpf"


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_writes_where_the_contract_says(top: Path) -> None:
    """`<directory>/<proxy id>/bootstrap.json`, as JSON."""
    assert top / "web-1" / "bootstrap.json" == BootstrapFiles(top).write(WEB, DATA)
    assert json.loads((top / "web-1" / "bootstrap.json").read_bytes()) == DATA
    assert {"web-1", "web-1/bootstrap.json"} == names(top)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes(top: Path, umask: int) -> None:
    """Whatever the umask: the file is its owner's, who can get to it and watch it."""
    before = os.umask(umask)
    try:
        BootstrapFiles(top).write(WEB, DATA)
        BootstrapFiles(top).write_token(WEB.proxy, "t")
    finally:
        os.umask(before)
    modes = [mode(path) for path in (top, *sorted(top.rglob("*")))]
    assert modes == [0o711, 0o755, 0o600, 0o600]


@as_root
def test_owner(top: Path) -> None:
    """The files are the owner's, the directories stay ours."""
    BootstrapFiles(top, owner=(65534, 65534)).write(WEB, DATA)
    path = top / "web-1" / "bootstrap.json"
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    assert os.geteuid() == path.parent.stat().st_uid


def test_unchanged_is_not_written(top: Path) -> None:
    """A restart of the controller touches nothing."""
    BootstrapFiles(top).write(WEB, DATA)
    path = top / "web-1" / "bootstrap.json"
    inode = path.stat().st_ino
    assert BootstrapFiles(top).write(WEB, dict(DATA)) is None
    assert inode == path.stat().st_ino


def test_changed_content_is_written(top: Path) -> None:
    """Even where the size is the same."""
    files = BootstrapFiles(top)
    files.write(WEB, {"vip": 1})
    assert files.write(WEB, {"vip": 2}) is not None
    assert json.loads(files.bootstrap_path(WEB.proxy).read_bytes()) == {"vip": 2}


def test_opened_up_file_is_written_again(top: Path) -> None:
    """A file others can read is not the one we want, whatever it says."""
    files = BootstrapFiles(top)
    files.write(WEB, DATA)
    files.bootstrap_path(WEB.proxy).chmod(0o644)
    assert files.write(WEB, DATA) is not None
    assert mode(files.bootstrap_path(WEB.proxy)) == 0o600


@as_root
def test_new_owner_is_written(top: Path) -> None:
    """A change of `bootstrap.owner` reaches the files that are there."""
    BootstrapFiles(top, owner=(65534, 65534)).write(WEB, DATA)
    assert BootstrapFiles(top).write(WEB, DATA) is not None


def test_fault_63_link_in_place_of_the_file_is_replaced(
    top: Path, tmp_path: Path
) -> None:
    """What it leads to is neither read nor written."""
    other = tmp_path / "other"
    other.write_text(json.dumps(DATA, indent=2) + "\n")
    other.chmod(0o600)
    files = BootstrapFiles(top)
    path = files.bootstrap_path(WEB.proxy)
    path.parent.mkdir(parents=True)
    path.symlink_to(other)
    files.write(WEB, {"new": 1})
    assert not path.is_symlink()
    assert json.loads(other.read_bytes()) == DATA


def test_pipe_in_place_of_the_file_is_replaced(top: Path) -> None:
    """Reading it would wait for ever."""
    files = BootstrapFiles(top)
    path = files.bootstrap_path(WEB.proxy)
    path.parent.mkdir(parents=True)
    os.mkfifo(path, 0o600)
    files.write(WEB, DATA)
    assert path.is_file()


@pytest.mark.parametrize("what", ["link", "file"])
def test_something_in_place_of_the_directory(
    top: Path, tmp_path: Path, what: str
) -> None:
    """An error that names it; nothing is written where a link leads."""
    top.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if what == "link":
        (top / "web-1").symlink_to(elsewhere)
    else:
        (top / "web-1").write_text("")
    with pytest.raises(ConsulEbpfError, match=r"web-1.*in the way"):
        BootstrapFiles(top).write(WEB, DATA)
    assert set() == names(elsewhere)


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """One line with the path and the cause."""
    with pytest.raises(ConsulEbpfError, match=r"directory '.*/no/such'.*No such"):
        BootstrapFiles(tmp_path / "no" / "such").write(WEB, DATA)


@pytest.mark.parametrize("hostile", ["", ".", "..", "../x", "a/b", "a\0b", "x" * 300])
def test_fault_63_hostile_ids_leave_nothing(
    top: Path, tmp_path: Path, hostile: str
) -> None:
    """Refused before anything is made or removed."""
    files = BootstrapFiles(top)
    (tmp_path / "bootstrap.json").write_text("somebody's")
    placed = PlacedProxy(Proxy(id=hostile, node="n"), WEB.vip)
    with pytest.raises(InvalidProxyError):
        files.write(placed, DATA)
    with pytest.raises(InvalidProxyError):
        files.remove(hostile)
    assert {"bootstrap.json"} == names(tmp_path)


def test_remove(top: Path) -> None:
    """All that was written, and what a killed predecessor left half written."""
    files = BootstrapFiles(top)
    files.write(WEB, DATA)
    files.write_token(WEB.proxy, "t")
    (top / "web-1" / ".bootstrap.json.0123456789abcdef.tmp").write_text("{")
    assert files.remove("web-1")
    assert set() == names(top)
    assert not files.remove("web-1")


def test_remove_leaves_what_is_not_ours(top: Path) -> None:
    """Somebody's own file stays, and the directory with it."""
    files = BootstrapFiles(top)
    files.write(WEB, DATA)
    (top / "web-1" / "notes").write_text("")
    assert files.remove("web-1")
    assert {"web-1", "web-1/notes"} == names(top)


def test_prune(top: Path, tmp_path: Path) -> None:
    """Only proxies go; our other files and what a link leads to stay."""
    files = BootstrapFiles(top)
    for id_ in ("web-1", "web-2", "web-3"):
        files.write(PlacedProxy(Proxy(id=id_, node="n"), WEB.vip), DATA)
    (top / "servers.json").write_text("{}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bootstrap.json").write_text("{}")
    (top / "link").symlink_to(elsewhere)
    assert files.prune({"web-2"}) == ["web-1", "web-3"]
    left = {"web-2", "web-2/bootstrap.json", "servers.json", "link"}
    assert left == names(top)
    assert {"bootstrap.json"} == names(elsewhere)


def test_what_is_hidden_is_no_proxys(top: Path) -> None:
    """No key begins with a dot: another part may just have made the directory."""
    (top / ".bearer").mkdir(parents=True)
    assert BootstrapFiles(top).prune(set()) == []
    assert (top / ".bearer").is_dir()


def test_pruning_makes_no_list_of_all(top: Path) -> None:
    """Not of the directories, nor of the paths: what is freed again leaves gaps."""
    files, keys = BootstrapFiles(top), {f"web-{n}-sidecar-proxy" for n in range(4000)}
    files.settle(Proxy("", "n", key=key) for key in keys)
    for key in keys:
        (top / key).mkdir(parents=True)
    tracemalloc.start()
    try:
        assert files.prune(keys) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{peak / len(keys):.0f} bytes for each proxy at the peak")
    assert peak / len(keys) < 100


def test_prune_before_anything_was_written(top: Path) -> None:
    """No directory, nothing to remove."""
    assert BootstrapFiles(top).prune(set()) == []


_OWNED = """
import sys
from ipaddress import IPv4Address
from pathlib import Path

from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.kernel import capabilities
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip

files = BootstrapFiles(Path(sys.argv[1]), owner=(65534, 65534))
files.learn()
capabilities.keep_only({"chown"})
web = PlacedProxy(Proxy("web-1", "n"), Vip(IPv4Address("127.64.0.1"), 8502))
for data in ({"is": "there"}, {"is": "new"}, {"is": "new"}):
    print(files.write(web, data) is not None)
files.prune(set())
print(files.bootstrap_path(web.proxy).exists())
"""


@as_root
def test_fault_98_with_chown_alone_another_users_files_are_written(top: Path) -> None:
    """What is there is known from before, and is not written once more."""
    BootstrapFiles(top, owner=(65534, 65534)).write(WEB, {"is": "there"})
    command = ["setpriv", "--bounding-set=-all,+chown,+dac_read_search", "--", "env"]
    ended = subprocess.run(
        [*command, sys.executable, "-c", _OWNED, top],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == ["False", "True", "False", "False"], ended.stderr
