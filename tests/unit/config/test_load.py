import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rich.pretty
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.decoding import convert
from consul_ebpf.config.load import complete, load
from consul_ebpf.config.schema import Config, ProxyEntry
from consul_ebpf.model import errors as _errors

PLAINTEXT = "[consul.tls]\ndisabled = true\n"

CONTRACT = """
[consul]
http_addresses = ["http://127.0.0.1:8500"]  # one or more agents or servers
source = "catalog"                          # catalog | watch | static | dns | exec
addresses = ["10.0.0.1", "10.0.0.2:8503"]   # for static and as seeds
grpc_port = 8502                            # where the source gives none
datacenter = "dc1"
[consul.tls]
disabled = true
[consul.credentials]
type = "static"                             # "" | static | login
token_file = "…"
[kernel]
cgroup = "auto"
bpffs = "/sys/fs/bpf"
vip_cidr = "127.64.0.0/10"
vip_port = 8502
[bootstrap]
directory = "/run/consul-ebpf"
[[proxies]]
id = "web-1-sidecar-proxy"
node = "host1-virtual"
vip = "127.64.0.1"
admin = "127.0.0.1:19000"
[dns]
enabled = false
vip = "127.64.0.53"
port = 53
server_port = 8600
"""

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


def load_text(
    directory: Path,
    text: str,
    env: dict[str, str] | None = None,
    overrides: dict[str, Any] | None = None,
    *,
    serving: bool = True,
) -> Config:
    file = directory / "c.toml"
    file.write_text(text)
    return load(file, env or {}, overrides or {}, serving=serving)


def refusal(
    directory: Path,
    text: str,
    env: dict[str, str] | None = None,
    overrides: dict[str, Any] | None = None,
) -> str:
    with pytest.raises(_errors.ConfigError) as caught:
        load_text(directory, text, env, overrides)
    return str(caught.value).removeprefix(f"{directory}/c.toml: ")


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


@pytest.mark.parametrize("source", ["watch", "static", "dns", "exec"])
def test_fault_115_only_the_catalog_has_a_default_address(
    tmp_path: Path, source: str
) -> None:
    """Whoever listens there would be given tokens, and nobody has said so."""
    seed = "exec=x" if source == "exec" else "10.0.0.1"
    text = PLAINTEXT + f"[consul]\nsource = '{source}'\naddresses = ['{seed}']\n"
    assert [] == load_text(tmp_path, text).consul.http_addresses
    nodes = text + "[workloads]\ncatalog_nodes = ['n']"
    assert "consul.http_addresses: is empty; catalog_nodes" in refusal(tmp_path, nodes)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8500", "[::1]:8500", "localhost", "unix:///x"]
)
def test_fault_115_with_tls_only_this_host_is_asked_in_plaintext_unsaid(
    tmp_path: Path, address: str
) -> None:
    """Elsewhere somebody must have written http://, or set CONSUL_HTTP_SSL to false."""
    tls = "[consul]\ndatacenter = 'dc1'\nhttp_addresses = ['{}']"
    assert load_text(tmp_path, tls.format(address)).consul.http_addresses
    there = tls.format("10.0.0.1:8500")
    assert "tokens would go in plaintext" in refusal(tmp_path, there)
    assert load_text(tmp_path, there, serving=False).consul.http_addresses
    for env in ({"CONSUL_HTTP_SSL": "1"}, {"CONSUL_HTTP_SSL": "0"}):
        assert load_text(tmp_path, there, env).consul.http_addresses
    assert load_text(tmp_path, tls.format("http://10.0.0.1:8500"))


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


def test_file_from_environment(tmp_path: Path) -> None:
    """$CONSUL_EBPF_CONFIG names the file; --config wins over it."""
    named, flagged = tmp_path / "a.toml", tmp_path / "b.toml"
    named.write_text(PLAINTEXT + "[kernel]\nvip_port = 1\n")
    flagged.write_text(PLAINTEXT + "[kernel]\nvip_port = 2\n")
    env = {"CONSUL_EBPF_CONFIG": str(named)}
    assert load(None, env).kernel.vip_port == 1
    assert load(flagged, env).kernel.vip_port == 2


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[consul]\nhttp_addresses = ['ftp://x']", "consul.http_addresses[0]: "),
        ("[consul]\nhttp_addresses = ['http://x/v1?a=b']", "nothing but a path"),
        ("[consul]\nhttp_addresses = ['x/v1']", "nothing but a path may follow"),
        ("[consul]\nhttp_addresses = ['http://x/a/../v1']", "is not a plain one"),
        ("[consul]\nhttp_addresses = ['unix://x']", "a socket's path is absolute"),
        (
            "[consul]\nhttp_addresses = ['10.0.0.1:8500']",
            "'10.0.0.1:8500' is on another host, where tokens would go in plaintext",
        ),
        ("[consul]\nhttp_addresses = ['http://x:0']", "consul.http_addresses[0]: "),
        ("[consul]\nhttp_addresses = ['http://x:99999']", "consul.http_addresses[0]: "),
        ("[consul]\nhttp_addresses = ['http://a b']", "consul.http_addresses[0]: "),
        ("[consul]\ngrpc_port = 0", "consul.grpc_port: "),
        ("[consul]\ndatacenter = 'a&b'", "consul.datacenter: "),
        ("[consul]\nsource = 'static'", "consul.addresses: is empty"),
        (
            "[consul]\nsource = 'static'\naddresses = ['x']",
            "consul.addresses[0]: 'x': not an IP address",
        ),
        (
            "[consul]\nsource = 'static'\naddresses = ['10.0.0.1:65536']",
            "the port must be 1 to 65535",
        ),
        ("[consul.credentials]\ntype = 'static'", "neither is given"),
        (
            "[consul.credentials]\ntype = 'static'\ntoken = 'a'\ntoken_file = 'b'",
            "both are given",
        ),
        ("[consul.credentials]\ntoken = 'a'", "consul.credentials.type: must be"),
        ("[kernel]\nvip_cidr = 'x'", "kernel.vip_cidr: 'x' is not an IPv4 network"),
        ("[kernel]\nvip_cidr = '::/64'", "is not an IPv4 network"),
        ("[kernel]\nvip_cidr = '127.64.0.1/10'", "write 127.64.0.0/10"),
        ("[kernel]\nvip_cidr = '240.0.0.0/8'", "Consul's virtual IPs"),
        ("[kernel]\nvip_cidr = '0.0.0.0/0'", "Consul's virtual IPs"),
        ("[kernel]\nvip_cidr = '10.0.0.0/8'", "tokens could leave"),
        ("[kernel]\nvip_cidr = '224.0.0.0/8'", "tokens could leave"),
        ("[kernel]\nvip_cidr = '127.0.0.0/8'", "holds 127.0.0.1 (localhost)"),
        (
            "[consul]\nhttp_addresses = ['127.64.0.9']",
            "holds 127.64.0.9 (consul.http_addresses[0])",
        ),
        (
            "[consul]\naddresses = ['127.64.0.9:8502']",
            "holds 127.64.0.9 (consul.addresses[0])",
        ),
        ("[kernel]\nvip_port = 65536", "kernel.vip_port: "),
        ("[kernel]\nmax_proxies = 0", "kernel.max_proxies: "),
        ("[kernel]\ncgroup = 'x'", "kernel.cgroup: 'x' is not an absolute path"),
        ("[kernel]\nbpffs = ''", "kernel.bpffs: "),
        ("[bootstrap]\ndirectory = 'run'", "bootstrap.directory: "),
        ("[bootstrap]\nowner = 'a:b:c'", "bootstrap.owner: "),
        ("[workloads]\ndirectory = 'x'", "workloads.directory: "),
        ("[workloads]\ncatalog_nodes = ['..']", "workloads.catalog_nodes[0]: "),
        ("[probe]\ninterval = 0", "probe.interval: 0 is not"),
        ("[probe]\ntimeout = nan", "probe.timeout: nan is not"),
        ("[probe]\nfall = 0", "probe.fall: "),
        ("[kernel]\nretry_window = -1", "kernel.retry_window: "),
        ("[envoy]\nadmin = 'localhost'", "envoy.admin: "),
        ("[bootstrap]\nowner = 'root:4294967295'", "bootstrap.owner: "),
        ("[api]\nlisten = 'localhost:9102'", "api.listen: 'localhost:9102': not an IP"),
        ("[api]\nlisten = ':9102'", "api.listen: ':9102': not an IP address; write"),
        ("[api]\nlisten = '9102'", "api.listen: '9102': not an IP address"),
        ("[api]\nlisten = '127.0.0.1'", "api.listen: '127.0.0.1': the port is missing"),
        ("[api]\nlisten = '127.0.0.1:0'", "the port must be 1 to 65535"),
        ("[api]\nlisten = '127.0.0.1:65536'", "the port must be 1 to 65535"),
        ("[api]\nlisten = '127.0.0.1:²'", "the port must be 1 to 65535"),
        ("[api]\nlisten = '[fe80::1%eth0]:9102'", "an address with a zone"),
        ("[api]\nlisten = 'unix:///x'", "api.listen: "),
        (
            "[api]\nsocket = 'api.sock'",
            "api.socket: 'api.sock' is not an absolute path",
        ),
        ("[api]\nsocket = '/'", "api.socket: '/' is not"),
        ('[api]\nsocket = "/a\\u0000b"', "api.socket: '/a\\x00b' is not"),
        (f"[api]\nsocket = '/{'s' * 107}'", "has 108 bytes, and a unix socket's path"),
        (f"[api]\nsocket = '/{'ß' * 54}'", "api.socket: "),
        (
            f"[bootstrap]\ndirectory = '/{'d' * 100}'",
            "bootstrap.directory: '/ddd",
        ),
        ("[api]\nusers = ['']", "api.users[0]: '' is neither a name nor a number"),
        ("[api]\nusers = ['root', 'a b']", "api.users[1]: 'a b' is neither"),
        ("[api]\nusers = ['4294967295']", "api.users[0]: '4294967295' is not 0 to"),
        (f"[api]\nusers = ['{'9' * 5000}']", "api.users[0]: "),
        ("[api]\nusers = [0]", "expected str"),
        ("[envoy]\nexecutable = ''", "envoy.executable: "),
        ("[[proxies]]\nid = ''", "proxies[0].id: '' is empty"),
        ("[[proxies]]\nid = '../x'", "proxies[0].id: "),
        (
            "[[proxies]]\nid = 'a'\n[[proxies]]\nid = 'a'",
            "proxies[1].id: 'a' is that of proxies[0] too",
        ),
        ("[[proxies]]\nid = 'a'\nvip = 'x'", "proxies[0].vip: 'x' is not"),
        ("[[proxies]]\nid = 'a'\nvip = '10.0.0.1'", "proxies[0].vip: 10.0.0.1 is not"),
        ("[[proxies]]\nid = 'a'\nvip = '127.64.0.0'", "is not a host's address"),
        ("[[proxies]]\nid = 'a'\nvip = '127.127.255.255'", "is not a host's address"),
        ("[[proxies]]\nid = 'a'\nvip = '::1'", "proxies[0].vip: ::1 must be IPv4"),
        ("[[proxies]]\nid = 'a'\nadmin = ':1'", "proxies[0].admin: "),
        ("[workloads]\nadmins = { web = '127.0.0.1' }", "workloads.admins.'web': "),
        ("[[proxies]]\nid = 'a'\nnetns = \"/a\\u0000b\"", "proxies[0].netns: "),
        (
            "[consul.credentials]\ntype = 'static'\ntoken_file = \"/a\\u0000b\"",
            "consul.credentials.token_file: holds a control character",
        ),
    ],
)
def test_fault_28_impossible(tmp_path: Path, text: str, said: str) -> None:
    """What no version could use is refused by its key."""
    message = refusal(tmp_path, text)
    assert said in message, message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "good"),
    [
        ("consul.tls.server_name", "a b", False),
        ("consul.tls.http_server_name", "a b", False),
        ("consul.domain", "a b", False),
        ("consul.domain", "fd00::5", False),
        ("consul.datacenter", "a.b", False),
        ("consul.tls.server_name", "10.0.0.5", True),
        ("consul.tls.server_name", "fd00::5", True),
        ("consul.tls.http_server_name", "fd00::5", True),
        ("consul.tls.server_name", "fe80::5%eth0", False),
        ("consul.domain", "consul.", True),
    ],
)
def test_fault_123_a_wrong_name_is_told_by_its_own_key(
    tmp_path: Path, key: str, value: str, good: bool
) -> None:
    """Whatever name is made of it; an address may stand where a name may."""
    table, _, leaf = key.rpartition(".")
    text = f"{PLAINTEXT}[{table}]\n{leaf} = '{value}'"
    if table == "consul.tls":
        text = f"[{table}]\ndisabled = true\n{leaf} = '{value}'"
    if good:
        load_text(tmp_path, text)
    else:
        assert refusal(tmp_path, text).startswith(f"{key}: '{value}' is not a ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "consul.tls.server_name: is empty, as is consul.datacenter; give one"),
        (PLAINTEXT + "[dns]\nenabled = true", "dns.enabled: "),
    ],
)
def test_not_yet(tmp_path: Path, text: str, said: str) -> None:
    """What this version does not carry out is refused, not ignored."""
    assert refusal(tmp_path, text).startswith(said)


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
        ({"CONSUL_HTTP_AUTH": "u:p"}, {}, "CONSUL_HTTP_AUTH is not in this version"),
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


SECRET = "5ec2e7-70ken"


@pytest.mark.parametrize(
    "text",
    [
        f"[consul.credentials]\ntype = '{SECRET}'",
        f"[consul.credentials]\ntype = 'login'\ntoken = '{SECRET}'",
        f"[consul.credentials]\ntype = 'static'\ntoken = '{SECRET}\\u00e9'",
        f"[consul.credentials]\ntoken = ['{SECRET}']",
        f"[consul]\nhttp_addresses = ['http://u:{SECRET}@x']",
        f"[consul.credentials]\ntoken = '{SECRET}",
    ],
)
def test_tokens_stay_out_of_errors(tmp_path: Path, text: str) -> None:
    """A refused configuration never shows what may be a secret."""
    assert SECRET not in refusal(tmp_path, text)


def test_tokens_stay_out_of_reprs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A configuration that is printed or logged shows no secret."""
    text = PLAINTEXT + (
        f"[consul.credentials]\ntype = 'static'\ntoken = '{SECRET}'\n"
        "[[proxies]]\nid = 'a'\n[proxies.credentials]\ntype = 'login'\n"
        f"auth_method = 'jwt'\nbearer_token = '{SECRET}'"
    )
    config = load_text(tmp_path, text)
    logging.getLogger("x").warning("%r %s", config, config)
    assert config.consul.credentials.token == SECRET
    assert SECRET not in caplog.text
    assert SECRET not in rich.pretty.pretty_repr(config)
    assert "type='static'" in caplog.text


def names(type_: type[msgspec.Struct] = Config) -> set[str]:
    found: set[str] = set()
    for field in msgspec.structs.fields(type_):
        found.add(field.name)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found |= names(field.type)
    return found


KEYS = st.sampled_from(sorted(names())) | st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.datetimes()
    | st.dates()
    | st.sampled_from(
        ["static", "127.64.0.1", "::ffff:127.64.0.1", "/x", "http://x", "10.0.0.0/8"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def matching(type_: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables that mostly have the schema's shape, so that values get checked too."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(type_):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            fields[field.name] = matching(field.type)
        elif field.name == "proxies":
            fields[field.name] = st.lists(matching(ProxyEntry), max_size=3)
        elif field.type is str:
            fields[field.name] = SCALARS.filter(lambda value: isinstance(value, str))
        elif field.type is int:
            fields[field.name] = st.integers()
        elif field.type is float:
            fields[field.name] = st.floats()
        else:
            fields[field.name] = VALUES
    return st.fixed_dictionaries({}, optional=fields)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4) | matching(Config),
    st.dictionaries(
        st.sampled_from(
            [
                "CONSUL_HTTP_ADDR",
                "CONSUL_HTTP_SSL",
                "CONSUL_HTTP_TOKEN",
                "CONSUL_CACERT",
            ]
        ),
        st.text(max_size=10),
    ),
)
def test_anything_loads_or_is_refused_in_one_line(
    table: dict[str, Any], env: dict[str, str]
) -> None:
    """Whatever is written becomes a configuration or one line saying why not."""
    refused = ""
    try:
        complete(convert(table, Config, "c.toml"), env, {}, "c.toml")
    except _errors.ConfigError as error:
        refused = str(error)
    assert refused.isprintable()
    assert len(refused) < 1000
