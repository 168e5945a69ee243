"""The token's file, and that the token is nowhere else."""

import json
import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.token import token_filters, token_script, token_secret
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip

TOKEN = "b7e1c6f0-0000-4000-8000-3f1f6d2c9a11"


def test_the_filter_reads_the_file_and_watches_nothing() -> None:
    """Each file that Envoy watches costs one of the few inotify instances."""
    text = json.dumps(token_filters(Path("/x/token.json")))
    assert "/x/token.json" in text
    assert "path_config_source" not in text


@pytest.mark.parametrize(
    "path", ['/r"u\\n/]]/%s/$(x)/t.json', "/r\u00e9/\u2603/t.json", "/a\nb\x7f/t.json"]
)
def test_a_path_is_data_in_the_script(path: str) -> None:
    """Whatever a directory is called, it ends no string: every odd byte is a number."""
    line = token_script(Path(path)).splitlines()[0]
    assert line.isascii()
    assert line.isprintable()
    quoted = line.removeprefix('local PATH = "').removesuffix('"')
    assert '"' not in quoted
    plain = re.sub(rb"\\(\d{3})", lambda m: bytes([int(m[1])]), quoted.encode())
    assert path == plain.decode()


def test_quotes_in_a_token_are_data() -> None:
    """A token is never pasted into text."""
    token = 'a"}\\ ${HOME}'
    (secret,) = json.loads(json.dumps(token_secret(token)))["resources"]
    assert token == secret["generic_secret"]["secret"]["inline_string"]


def test_the_token_is_in_its_file_only(tmp_path: Path) -> None:
    """Not in the bootstrap, a repr or another file."""
    files = BootstrapFiles(tmp_path)
    renderer = EnvoyBootstrap(token_file=files.token_path)
    placed = PlacedProxy(
        Proxy(id="web-1", node="n"), Vip(IPv4Address("127.64.0.1"), 8502)
    )
    files.write_token(placed.proxy, TOKEN)
    bootstrap = renderer.render(placed)
    files.write(placed, bootstrap)
    holding = [p for p in tmp_path.rglob("*") if p.is_file() and TOKEN in p.read_text()]
    assert [files.token_path(placed.proxy)] == holding
    assert TOKEN not in repr((bootstrap, renderer, files))
