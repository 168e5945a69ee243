"""Loading: a file, its mistakes, and the contract's own example."""

import os
from pathlib import Path

import pytest

from consul_ebpf.config.load import load
from consul_ebpf.config.schema import Config, ProxyEntry
from consul_ebpf.model import errors as _errors
from tests.lab.configuration import CONTRACT, load_text, refusal

LATER = """
[consul]
source = "exec"
addresses = ["exec=discover -q addrs provider=aws", "consul.example"]
[consul.tls]
ca_certs = "/ca"
cert = "/cert"
key = "/key"
server_name = "server.dc1.consul"
insecure_skip_verify = false
[consul.credentials]
type = "login"
auth_method = "minikube"
bearer_token_file = "/var/run/token"
bearer_token = ""
namespace = "ns"
partition = "ap"
datacenter = "dc1"
meta = { pod = "default/web" }
[workloads]
directory = "/etc/consul-ebpf.d"
catalog_nodes = ["host1-virtual"]
[[proxies]]
id = "web"
credentials = { type = "login", bearer_token_file = "/token" }
[dns]
enabled = true
[log]
format = "json"
level = "debug"
"""


def test_contract(tmp_path: Path) -> None:
    """The contract's own example loads, each key where it belongs."""
    config = load_text(tmp_path, CONTRACT)
    assert config.consul.http_addresses == ["http://127.0.0.1:8500"]
    assert config.consul.addresses == ["10.0.0.1", "10.0.0.2:8503"]
    assert config.consul.credentials.token_file == "…"
    entry = ProxyEntry(
        id="web-1-sidecar-proxy",
        node="host1-virtual",
        vip="127.64.0.1",
        admin="127.0.0.1:19000",
    )
    assert [entry] == config.proxies


def test_later_keys_are_known(tmp_path: Path) -> None:
    """A command that serves nothing accepts what only a later version carries out."""
    config = load_text(tmp_path, LATER, serving=False)
    assert config.consul.credentials.meta == {"pod": "default/web"}
    assert config.log.format == "json"


def test_no_file_is_defaults() -> None:
    """Without a file the defaults hold, with the local agent's address."""
    config = load(None, {}, {"consul.tls.disabled": True})
    assert config.consul.http_addresses == ["http://127.0.0.1:8500"]
    assert config.kernel == Config().kernel


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_missing_file(tmp_path: Path, by: str) -> None:
    """A file that is named must be there."""
    missing = tmp_path / "none.toml"
    env = {"CONSUL_EBPF_CONFIG": str(missing)} if by == "variable" else {}
    with pytest.raises(
        _errors.ConfigError, match=r"none\.toml: No such file.*--config"
    ):
        load(missing if by == "flag" else None, env)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[consul]\nsorce = 1",
            "consul.sorce: unknown key; did you mean consul.source?",
        ),
        ("[kernell]", "kernell: unknown key; did you mean kernel?"),
        (
            "http_adresses = []",
            "http_adresses: unknown key; did you mean consul.http_addresses?",
        ),
        (
            '[[proxies]]\nid = "a"\n[[proxies]]\nnod = "x"\nid = "b"',
            "proxies[1].nod: unknown key; did you mean proxies[1].node?",
        ),
        (
            '[[proxies]]\nid="a"\ncredentials = { tipe = "" }',
            "proxies[0].credentials.tipe: unknown key; did you mean proxies[0].cred",
        ),
        ("[probe]\nxyzzy = 1", "probe.xyzzy: unknown key; known here: interval,"),
        ('"a\\nb" = 1', '"a\\nb": unknown key; known here: consul,'),
        (
            '[kernel]\nvip_port = "x"',
            "kernel.vip_port: expected int, got str; write vip_port = 8502",
        ),
        (
            "[consul]\nhttp_addresses = 'x'",
            "consul.http_addresses: expected list, got str; write http_addresses = […]",
        ),
        ("[consul]\naddresses = [1]", "consul.addresses[0]: expected str, got int"),
        (
            "[consul.tls]\ndisabled = 'yes'",
            "consul.tls.disabled: expected true or false, got str; write disabled",
        ),
        ("consul = 1", "consul: expected table, got int"),
        (
            "[consul]\nsource = 'catalogue'",
            'consul.source: must be one of "catalog", "dns", "exec", "static", "watch"',
        ),
        ("[[proxies]]", 'proxies[0].id: missing; write id = "…"'),
        ("[kernel", "not TOML: "),
        (f"a = {'9' * 5000}", "not TOML: too long or too deep"),
        (f"a = {'[' * 100000}", "not TOML: too long or too deep"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    """A mistake is one line that begins with the file and the whole key."""
    message = refusal(tmp_path, text)
    assert message.startswith(said), message
    assert "\n" not in message


def test_not_utf8(tmp_path: Path) -> None:
    """A file that is not text is a configuration error."""
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(_errors.ConfigError, match="not UTF-8 at byte 0"):
        load(file, {})


def test_an_endless_configuration_is_refused() -> None:
    """A command that is given the wrong path takes no more memory than a limit."""
    with pytest.raises(_errors.ConfigError, match=r"/dev/zero: is larger than \d+ byt"):
        load(Path("/dev/zero"), {}, {})


def test_a_configuration_may_come_by_a_pipe() -> None:
    """As from a shell's `<(...)`."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as pipe:
        pipe.write('[consul.tls]\ndisabled = true\n[log]\nlevel = "debug"\n')
        pipe.close()
        assert load(Path(f"/dev/fd/{reading}"), {}, {}).log.level == "debug"
