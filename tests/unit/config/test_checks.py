"""What a configuration may not say, though its types are right."""

from pathlib import Path

import pytest

from tests.lab.configuration import PLAINTEXT, load_text, refusal


@pytest.mark.parametrize("source", ["watch", "static", "dns", "exec"])
def test_fault_115_only_the_catalog_has_a_default_address(
    tmp_path: Path, source: str
) -> None:
    """Whoever listens there would be given tokens, and nobody has said so."""
    seed = "exec=x" if source == "exec" else "10.0.0.1"
    text = PLAINTEXT + f"[consul]\nsource = '{source}'\naddresses = ['{seed}']\n"
    assert [] == load_text(tmp_path, text).consul.http_addresses
    nodes = text + "[workloads]\ncatalog_nodes = ['n']"
    assert "is empty; workloads.catalog_nodes needs it" in refusal(tmp_path, nodes)


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
        ("[probe]\ninterval = 0", "probe.interval: is not 0.01 to 3600"),
        ("[probe]\ntimeout = nan", "probe.timeout: is not 0.01 to 3600"),
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
        (f"[api]\nsocket = '/{'s' * 107}'", "has 108 bytes; a unix socket's path"),
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


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    """Only a command that looks goes on without."""
    said = "consul.tls.server_name: is empty, as is consul.datacenter; give one"
    assert refusal(tmp_path, "").startswith(said)
