"""What `doctor` says of the files that are configured."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from consul_ebpf.cli import main

STATIC = 'type = "static"\ntoken_file = "{file}"'
LOGIN = 'type = "login"\nauth_method = "m"\nbearer_token_file = "{file}"'


def doctor(tmp_path: Path, credentials: str) -> list[str]:
    """Return its lines about credentials, where nobody is asked over HTTP."""
    file = tmp_path / "config.toml"
    file.write_text(
        '[consul]\nsource = "static"\naddresses = ["127.0.0.1:1"]\n'
        "[consul.tls]\ndisabled = true\n"
        f"[consul.credentials]\n{credentials}\n"
        f"[bootstrap]\ndirectory = '{tmp_path}/run'\n[kernel]\nbpffs = '{tmp_path}'\n"
    )
    handler = signal.getsignal(signal.SIGTERM)
    try:
        result = CliRunner().invoke(main, ["doctor", "--config", str(file)])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert result.exit_code
    return [each for each in result.stdout.splitlines() if "credentials" in each]


@pytest.mark.parametrize(
    ("key", "credentials"), [("token_file", STATIC), ("bearer_token_file", LOGIN)]
)
def test_a_tokens_file_is_read(tmp_path: Path, key: str, credentials: str) -> None:
    """Where it is missing or holds none, that fails in one line; no token is shown."""
    file = tmp_path / "the-token"
    (line,) = doctor(tmp_path, credentials.format(file=file))
    assert line.startswith(f"FAIL consul.credentials.{key}: ")
    assert f"{file}: No such file" in line
    file.write_text("two words")
    (line,) = doctor(tmp_path, credentials.format(file=file))
    assert "FAIL" in line
    assert "words" not in line.replace("more than one word", "")
    file.write_text("5e2a1bd4-secret\n")
    (line,) = doctor(tmp_path, credentials.format(file=file))
    assert line == f"ok   consul.credentials.{key}: {file} holds a token"


def test_without_files_nothing_is_said_of_them(tmp_path: Path) -> None:
    """There is nothing to read."""
    assert [] == doctor(tmp_path, 'type = "static"\ntoken = "secret"')
