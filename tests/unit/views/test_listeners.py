"""The endpoint's sockets are had, or refused by name before anything is done."""

import os
import socket
import stat
from pathlib import Path

import pytest

from consul_ebpf.model.errors import AlreadyRunningError, ConfigError, ConsulEbpfError
from consul_ebpf.views.listeners import Listeners


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def test_it_listens_at_once_for_everybody_and_leaves_nothing(tmp_path: Path) -> None:
    """Its directory is made, too."""
    path = tmp_path / "made" / "api.sock"
    listeners = Listeners(path, ("127.0.0.1", 0))
    try:
        assert connects(path)
        assert 0o666 == stat.S_IMODE(path.stat().st_mode)
        assert 0o711 == stat.S_IMODE(path.parent.stat().st_mode)
        with socket.create_connection(listeners.all[1].getsockname()):
            pass
    finally:
        listeners.close()
    assert not path.exists()
    listeners.close()


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """One that nobody listens at any more."""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
    listeners = Listeners(path)
    assert connects(path)
    listeners.close()


def test_fault_129_a_socket_that_is_in_use_is_left(tmp_path: Path) -> None:
    """Who listens there is named, and goes on."""
    path = tmp_path / "api.sock"
    first = Listeners(path)
    with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()} listens at"):
        Listeners(path)
    assert connects(path)
    first.close()


def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    """Whoever took the path has it."""
    path = tmp_path / "api.sock"
    first = Listeners(path)
    path.unlink()
    second = Listeners(path)
    first.close()
    assert connects(path)
    second.close()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("file", "a regular file"),
        ("directory", "a directory"),
        ("fifo", "a FIFO"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
    ],
)
def test_fault_129_what_is_no_socket_is_left(
    tmp_path: Path, kind: str, said: str
) -> None:
    """Refused by name, exit code 2, and what is there stays as it is."""
    path = tmp_path / "api.sock"
    target = tmp_path / "file"
    target.write_text("precious")
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(target)
        case _:
            path.symlink_to(tmp_path / "nothing")
    before = path.lstat()
    with pytest.raises(ConfigError, match=f"api.socket: .*api.sock is {said}"):
        Listeners(path)
    assert before.st_ino == path.lstat().st_ino
    assert "precious" == target.read_text()
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("path", ["a/b/api.sock", "file/api.sock", "file/x/api.sock"])
def test_fault_129_a_directory_that_is_not_there(tmp_path: Path, path: str) -> None:
    """Only the last one is made."""
    (tmp_path / "file").touch()
    with pytest.raises(ConsulEbpfError, match=r"^api.socket: cannot listen at /.*: "):
        Listeners(tmp_path / path)


def test_fault_129_an_address_in_use_is_told(tmp_path: Path) -> None:
    """And the unix socket is not left behind."""
    path = tmp_path / "api.sock"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            ConsulEbpfError,
            match=f"^api.listen: cannot listen at 127.0.0.1:{port}: Address already in",
        ) as refused:
            Listeners(path, ("127.0.0.1", port))
    assert 1 == refused.value.exit_code
    assert not path.exists()


def test_fault_129_an_address_of_another_host_is_told(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(ConsulEbpfError, match="it is not an address of this host"):
        Listeners(tmp_path / "api.sock", ("192.0.2.1", 9102))
