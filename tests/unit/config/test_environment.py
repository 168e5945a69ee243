"""What flags and variables say on top of the file, and who is blamed."""

from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.config.load import load
from tests.lab.configuration import CONTRACT, PLAINTEXT, load_text, refusal


def test_file_from_environment(tmp_path: Path) -> None:
    """$CONSUL_EBPF_CONFIG names the file; --config wins over it."""
    named, flagged = tmp_path / "a.toml", tmp_path / "b.toml"
    named.write_text(PLAINTEXT + "[kernel]\nvip_port = 1\n")
    flagged.write_text(PLAINTEXT + "[kernel]\nvip_port = 2\n")
    env = {"CONSUL_EBPF_CONFIG": str(named)}
    assert load(None, env).kernel.vip_port == 1
    assert load(flagged, env).kernel.vip_port == 2


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"CONSUL_HTTP_ADDR": "10.0.0.9:1"}, ["http://10.0.0.9:1"]),
        ({"CONSUL_HTTP_ADDR": "https://c.example"}, ["https://c.example:443"]),
        ({"CONSUL_HTTP_ADDR": "[::1]:8501"}, ["http://[::1]:8501"]),
        ({"CONSUL_HTTP_ADDR": "c.example"}, ["http://c.example:8500"]),
        ({"CONSUL_HTTP_ADDR": "http://c.example"}, ["http://c.example:80"]),
        (
            {"CONSUL_HTTP_ADDR": "https://c.example/consul/"},
            ["https://c.example:443/consul"],
        ),
        (
            {"CONSUL_HTTP_ADDR": "unix:///run/consul/http.sock"},
            ["unix:///run/consul/http.sock"],
        ),
        ({"CONSUL_HTTP_ADDR": ""}, ["http://file:8500"]),
        ({"CONSUL_HTTP_SSL": "true"}, ["https://file:8500"]),
        (
            {"CONSUL_HTTP_ADDR": "http://c.example", "CONSUL_HTTP_SSL": "true"},
            ["https://c.example:443"],
        ),
        ({"CONSUL_HTTP_SSL": "0"}, ["http://file:8500"]),
    ],
)
def test_addresses_from_environment(
    tmp_path: Path, env: dict[str, str], expected: list[str]
) -> None:
    """CONSUL_HTTP_ADDR replaces the file's addresses; CONSUL_HTTP_SSL makes HTTPS."""
    text = PLAINTEXT + "[consul]\nhttp_addresses = ['http://file:8500']"
    assert expected == load_text(tmp_path, text, env).consul.http_addresses


def test_token_from_environment(tmp_path: Path) -> None:
    """A token in the environment replaces the file's; of both, the file's name wins."""
    text = PLAINTEXT + "[consul.credentials]\ntype = 'static'\ntoken_file = '/t'"
    one = load_text(tmp_path, text, {"CONSUL_HTTP_TOKEN": "abc"})
    assert one.consul.credentials.token == "abc"
    assert one.consul.credentials.token_file == ""
    both = {"CONSUL_HTTP_TOKEN": "abc", "CONSUL_HTTP_TOKEN_FILE": "/u"}
    two = load_text(tmp_path, text, both).consul.credentials
    assert (two.type, two.token, two.token_file) == ("static", "", "/u")


def test_flags_win(tmp_path: Path) -> None:
    """Flags win over the environment; a flag that was not given changes nothing."""
    config = load_text(
        tmp_path,
        CONTRACT,
        {"CONSUL_HTTP_ADDR": "env"},
        {"consul.http_addresses": ["flag"], "kernel.cgroup": None},
    )
    assert config.consul.http_addresses == ["http://flag:8500"]
    assert config.kernel.cgroup == "auto"


@pytest.mark.parametrize(
    ("env", "overrides", "said"),
    [
        ({"CONSUL_HTTP_ADDR": "unix://x"}, {}, "CONSUL_HTTP_ADDR: consul.http_addr"),
        (
            {"CONSUL_HTTP_ADDR": "unix:///x", "CONSUL_HTTP_SSL": "1"},
            {},
            "CONSUL_HTTP_ADDR: consul.http_addresses[0]: Consul address 'unix:///x': a",
        ),
        ({"CONSUL_HTTP_SSL": "maybe"}, {}, "CONSUL_HTTP_SSL: must be true or false"),
        ({"CONSUL_HTTP_AUTH": "u:p"}, {}, "CONSUL_HTTP_AUTH is not supported"),
        (
            {"CONSUL_CACERT": "ca"},
            {},
            "CONSUL_CACERT: consul.tls.ca_certs: 'ca' is not",
        ),
        ({"CONSUL_HTTP_SSL_VERIFY": "0"}, {}, "consul.tls.insecure_skip_verify = true"),
        ({}, {"kernel.vip_port": "x"}, "--set: kernel.vip_port: expected int"),
        ({}, {"kernell.vip_port": 1}, "--set: kernell: unknown key; did you mean kern"),
        ({}, {"kernel.x.y": 1}, "--set: kernel.x: unknown key; known here: cgroup"),
        ({}, {"kernel.vip_port.y": 1}, "--set: 'kernel.vip_port.y': 'vip_port' has no"),
        ({}, {"proxies.0.id": "a"}, "--set: 'proxies.0.id': 'proxies' has no keys"),
        ({}, {"": 1}, '--set: "": unknown key'),
        ({}, {"log.level": "loud"}, "--set: log.level: must be one of"),
        ({}, {"kernel.bpffs": "x"}, "--set: kernel.bpffs: 'x' is not an absolute"),
    ],
)
def test_blames_the_origin(
    tmp_path: Path, env: dict[str, str], overrides: dict[str, Any], said: str
) -> None:
    """An error names the variable or flag that the wrong value came from."""
    assert said in refusal(tmp_path, PLAINTEXT, env, overrides)


def test_the_standard_https_variables(tmp_path: Path) -> None:
    """They say what they say to Consul's own commands; a file wins over a directory."""
    env = {
        "CONSUL_CACERT": "/ca.pem",
        "CONSUL_CAPATH": "/ca",
        "CONSUL_CLIENT_CERT": "/c.pem",
        "CONSUL_CLIENT_KEY": "/k.pem",
        "CONSUL_TLS_SERVER_NAME": "localhost",
    }
    tls = load_text(tmp_path, PLAINTEXT, env).consul.tls
    assert (tls.ca_certs, tls.cert, tls.key) == ("/ca.pem", "/c.pem", "/k.pem")
    assert tls.http_server_name == "localhost"
    assert not tls.server_name
