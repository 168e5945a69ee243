"""What the commands make of whoever answers in a controller's or an Envoy's place."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consul_ebpf.cli import client, main
from consul_ebpf.model.errors import ConsulEbpfError


@contextmanager
def answering(listener: socket.socket, said: bytes) -> Iterator[None]:
    """Answer each connection with the same bytes, whatever it asks."""
    listener.listen()
    listener.settimeout(0.05)
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                try:
                    connection.sendall(said)
                except OSError:
                    continue

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        listener.close()


@contextmanager
def endpoint(tmp_path: Path, said: bytes) -> Iterator[Path]:
    path = tmp_path / "run" / "api.sock"
    path.parent.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    with answering(listener, said):
        yield path


def http(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


GARBAGE = {
    "no HTTP": b"\x16\x03\x01 nonsense\r\n\r\n",
    "an endless line": b"HTTP/1.1 200 " + b"a" * 100_000,
    "no status": b"HTTP/1.1 abc OK\r\n\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 1000 + b"\r\n",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no JSON": http(b"hello"),
    "no object": http(b"[1]"),
    "null": http(b"null"),
    "no text": http(b"\xff\xfe{}"),
    "deep JSON": http(b"[" * 100_000),
    "more than anybody says": http(b" " * 2_000_000 + b"{}"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_fault_128_garbage_in_the_controllers_place_is_one_line(
    tmp_path: Path, what: str
) -> None:
    """No traceback, and no memory without end."""
    with (
        endpoint(tmp_path, GARBAGE[what]) as path,
        pytest.raises(ConsulEbpfError, match="is not a controller's: ") as error,
    ):
        client.proxy(path, "web", "connected", 0.1)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


def wait(tmp_path: Path, *args: str) -> Result:
    file = tmp_path / "config.toml"
    file.write_text(
        f"[consul.tls]\ndisabled = true\n[bootstrap]\ndirectory = '{tmp_path}/run'\n"
        f"[kernel]\nbpffs = '{tmp_path}'\n"
    )
    arguments = ["--config", str(file), "--proxy", "web", *args]
    return CliRunner().invoke(main, ["wait", *arguments])


def test_wait_ends_with_the_condition(tmp_path: Path) -> None:
    """By the controller's word."""
    with endpoint(tmp_path, http(b'{"connected": true}')):
        assert 0 == wait(tmp_path).exit_code


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (http(b"{}"), "HTTP 200"),
        (b"", ""),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
            "before the end of its answer",
        ),
        (http(b'{"error": "a\\nb \\u001b[2J"}', "503 x"), r"a b \x1b[2J"),
        (http(b'{"error": "too many"}', "503 x"), "too many"),
        (http(b'{"error": 7}', "500 x"), "7"),
    ],
)
def test_wait_goes_on_while_there_is_no_answer(
    tmp_path: Path, said: bytes, words: str
) -> None:
    """To its end, without asking all the time; then says why in one line."""
    begun = time.monotonic()
    with endpoint(tmp_path, said):
        result = wait(tmp_path, "--timeout", "0.5")
    assert time.monotonic() - begun >= 0.5
    assert 1 == result.exit_code
    (line,) = result.stderr.splitlines()
    assert "is not there after 0.5 s" in line
    assert words in line
    assert line.isprintable()


def admin(address: Any, port: Any) -> str:
    at = {"address": address, "port_value": port}
    return json.dumps({"admin": {"address": {"socket_address": at}}})


def stop(tmp_path: Path, bootstrap: str) -> Result:
    file = tmp_path / "config.toml"
    file.write_text(f"[bootstrap]\ndirectory = '{tmp_path}/run'\n")
    path = tmp_path / "run" / "web" / "bootstrap.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bootstrap)
    arguments = ["--config", str(file), "--proxy", "web"]
    return CliRunner().invoke(main, ["stop", *arguments])


@pytest.mark.parametrize(
    "bootstrap",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"admin": {}}',
        admin("127.0.0.1", 70000),
        admin("127.0.0.1", 0),
        admin("127.0.0.1", None),
        admin("localhost\0", 19000),
        admin("a" * 300, 19000),
    ],
)
def test_stop_tells_what_is_no_bootstrap(tmp_path: Path, bootstrap: str) -> None:
    """In one line."""
    result = stop(tmp_path, bootstrap)
    assert 1 == result.exit_code
    assert "bootstrap.json is not a bootstrap" in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_stop_asks_where_the_bootstrap_is(tmp_path: Path) -> None:
    """Where the files do not say it, or this user may not read them."""
    elsewhere = tmp_path / "volume" / "bootstrap.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text(admin("127.0.0.1", 1))
    file = tmp_path / "config.toml"
    file.write_text(f"[bootstrap]\ndirectory = '{tmp_path}/run'\n")
    said = json.dumps({"bootstrap": str(elsewhere)}).encode()
    with endpoint(tmp_path, http(said)):
        arguments = ["--config", str(file), "--proxy", "web"]
        result = CliRunner().invoke(main, ["stop", *arguments])
    assert 1 == result.exit_code
    assert "Envoy of proxy web at 127.0.0.1:1 does not answer" in result.stderr


@pytest.mark.parametrize("said", [b"\0\r\n", http(b"no", "503 x"), b""])
def test_stop_tells_what_is_no_envoy(tmp_path: Path, said: bytes) -> None:
    """In one line."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with answering(listener, said):
        result = stop(tmp_path, admin("127.0.0.1", port))
    assert 1 == result.exit_code
    assert f"Envoy of proxy web at 127.0.0.1:{port}" in result.stderr
    assert 1 == len(result.stderr.splitlines())
