"""The token's file, and that the token is nowhere else."""

import json
from ipaddress import IPv4Address
from pathlib import Path

from consul_ebpf.envoy.bootstrap import EnvoyBootstrap
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.envoy.token import SECRET, token_filters, token_secret
from consul_ebpf.model.values import PlacedProxy, Proxy, Vip

TOKEN = "b7e1c6f0-0000-4000-8000-3f1f6d2c9a11"


def test_the_filter_asks_for_the_secret_in_the_file() -> None:
    """Another name and Envoy waits for ever."""
    (secret,) = token_secret(TOKEN)["resources"]
    injector = token_filters(Path("/x/token.json"))[0]["typed_config"]
    wanted = injector["credential"]["typed_config"]["credential"]["name"]
    assert SECRET == wanted == secret["name"]


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
