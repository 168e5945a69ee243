"""consul-dataplane's flags and variables: accepted where they mean the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from consul_ebpf.cli import COMMAND_MODULES, main
from consul_ebpf.config import dataplane
from consul_ebpf.config.dataplane import FLAGS
from consul_ebpf.config.load import load
from consul_ebpf.config.schema import Config, ProxyEntry
from consul_ebpf.model.errors import ConfigError

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = DOCS / "coming-from-consul-dataplane.md"
PODS = DOCS / "kubernetes-options.md"
DATAPLANE = os.environ.get("CONSUL_DATAPLANE_BIN", "")
BASE = {"consul.tls.disabled": True}


def test_the_table_of_the_page_is_generated() -> None:
    """By `python -m consul_ebpf.config.dataplane docs/coming-from-…md`."""
    assert DOCUMENT.read_text() == dataplane.document(DOCUMENT.read_text())
    assert DOCUMENT.read_text().count("<br>`DP_") >= 50


def test_the_table_of_pods_is_generated() -> None:
    """By `python -m consul_ebpf.config.dataplane docs/kubernetes-options.md`."""
    text = PODS.read_text()
    assert text == dataplane.document(text, pods=True)
    rows = re.findall(r"(?m)^\| `-([a-z-]+)`[^|]*\| ([^|]+?) \|", text)
    assert [name for name, _ in rows] == list(FLAGS)
    assert {fate for _, fate in rows} == set(dataplane.FATES.values())


def test_every_flag_has_a_fate_in_a_pod() -> None:
    """One that skips the pod says why."""
    skips = {name: flag.pod_note for name, flag in FLAGS.items() if flag.pod == "skip"}
    assert all(skips.values())
    with pytest.raises(msgspec.ValidationError, match="pod"):
        msgspec.convert({"env": "DP_NEW"}, dataplane.Flag)


def test_every_flag_has_ours_or_a_reason() -> None:
    """One that is carried out has a variable, too."""
    assert [name for name, flag in FLAGS.items() if not (flag.named or flag.note)] == []
    assert all(flag.env for flag in dataplane.ACCEPTED.values())


def test_our_keys_exist() -> None:
    """In the schema; the options and paths in the commands' own help."""
    helps = "".join(
        CliRunner().invoke(main, [*command, "--help"]).output
        for command in ([], *([name] for name in COMMAND_MODULES))
    )
    helps += " ".join(f" {name} " for name in COMMAND_MODULES)
    for flag in FLAGS.values():
        for name in re.findall(r"`([^`]+)`", flag.named):
            if name.startswith("$"):
                assert name == "$CONSUL_EBPF_CONFIG"
            elif re.fullmatch(r"[a-z_.\[\]]+", name):
                exists(name)
            else:
                words = [w for w in name.split() if w not in {"ID", "consul-ebpf"}]
                for word in words:
                    assert word in helps or word == "0", name


def exists(path: str) -> None:
    value: object = Config()
    if path.startswith("proxies[]."):
        value, path = ProxyEntry(id="x"), path.removeprefix("proxies[].")
    for step in path.split("."):
        value = getattr(value, step)


@pytest.mark.parametrize("command", sorted(COMMAND_MODULES))
def test_the_flags_are_in_the_help_of_the_commands_named(command: str) -> None:
    """With one dash, as consul-dataplane's own, and with two; and in no other's."""
    text = CliRunner().invoke(main, [command, "--help"]).output
    for name, flag in FLAGS.items():
        shown = re.search(rf" -{name},( --proxy,)? --{name} ", text)
        assert bool(shown) == (command in flag.commands), name


def test_a_flag_of_theirs_does_what_it_says(tmp_path: Path) -> None:
    """With one dash or two, and with `=`; it goes before the file."""
    file = tmp_path / "c.toml"
    file.write_text(f"[bootstrap]\ndirectory = '{tmp_path}'\n")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "bootstrap.json").write_text("{}")
    named = tmp_path / "id"
    named.write_text("web\n")
    words = f"--config {file} -proxy-id-path {named} -envoy-executable-path echo"
    words += " -envoy-concurrency 7 --envoy-drain-strategy=gradual -log-level warn"
    words += " -- --drain-time-s 1"
    done = subprocess.run(
        [sys.executable, "-m", "consul_ebpf", "envoy", *words.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--concurrency 7 " in done.stdout
    assert "--drain-strategy gradual" in done.stdout
    assert "--log-level warning" in done.stdout
    assert done.stdout.count("--drain-time-s") == 1


CASES: list[tuple[str, str, str, object]] = [
    ("grpc-port", "8503", "consul.grpc_port", 8503),
    ("log-level", "TRACE", "log.level", "debug"),
    ("log-json", "true", "log.format", "json"),
    ("log-json", "false", "log.format", "text"),
    ("envoy-ready-bind-port", "20000", "envoy.ready", ""),
    ("tls-disabled", "1", "consul.tls.disabled", True),
    ("ca-certs", "/ca", "consul.tls.ca_certs", "/ca"),
    ("tls-cert", "/c", "consul.tls.cert", "/c"),
    ("tls-server-name", "s.dc1.consul", "consul.tls.server_name", "s.dc1.consul"),
    ("tls-insecure-skip-verify", "t", "consul.tls.insecure_skip_verify", True),
    ("envoy-admin-bind-port", "19001", "envoy.admin", "127.0.0.1:19001"),
    ("envoy-admin-bind-address", "::1", "envoy.admin", "[::1]:19000"),
    ("envoy-concurrency", "4", "envoy.concurrency", 4),
    ("envoy-drain-time-seconds", "5", "envoy.drain_time", 5),
    ("envoy-drain-strategy", "gradual", "envoy.drain_strategy", "gradual"),
    ("envoy-executable-path", "/e", "envoy.executable", "/e"),
    ("shutdown-drain-listeners", "t", "envoy.shutdown_drain_listeners", True),
    ("shutdown-grace-period-seconds", "9", "envoy.shutdown_grace_period", 9.0),
    ("dump-envoy-config-on-exit", "1", "envoy.dump_config_on_exit", True),
    ("telemetry-use-central-config", "0", "telemetry.use_central_config", False),
    ("telemetry-prom-scrape-path", "/x", "telemetry.prometheus.scrape_path", "/x"),
]


@pytest.mark.parametrize(("flag", "text", "key", "expected"), CASES)
def test_one_by_one(flag: str, text: str, key: str, expected: object) -> None:
    """By flag and by variable, checked by the schema."""
    env = {dataplane.ACCEPTED[flag].env: text}
    for config in (
        load(None, env, BASE),
        load(None, {}, {**BASE, **dataplane.to_keys({flag: text})}),
    ):
        value: object = config
        for step in key.split("."):
            value = getattr(value, step)
        assert value == expected or key == "consul.tls.disabled"


@pytest.mark.parametrize(
    ("address", "watched", "unwatched"),
    [
        ("10.0.0.1", "watch", "static"),
        ("consul.example", "watch", "dns"),
        ("exec=/bin/addrs -q", "watch", "exec"),
    ],
)
def test_addresses(address: str, watched: str, unwatched: str) -> None:
    """WatchServers, or by what the address is."""
    env = {"DP_CONSUL_ADDRESSES": address}
    consul = load(None, env, BASE).consul
    assert (consul.source, consul.addresses) == (watched, [address])
    env["DP_SERVER_WATCH_DISABLED"] = "true"
    assert load(None, env, BASE).consul.source == unwatched


@pytest.mark.parametrize(
    ("port", "expected"), [("0", ""), ("1", "127.0.0.1:1"), ("", "")]
)
def test_a_ready_listener_needs_address_and_port(port: str, expected: str) -> None:
    """As there; 0 is none."""
    env = {"DP_ENVOY_READY_BIND_ADDRESS": "127.0.0.1"}
    env["DP_ENVOY_READY_BIND_PORT"] = port
    assert load(None, env, BASE).envoy.ready == expected


def test_a_login() -> None:
    """All of it, with metadata from numbered variables and repeated flags."""
    env = {
        "DP_CREDENTIAL_TYPE": "login",
        "DP_CREDENTIAL_LOGIN_AUTH_METHOD": "k8s",
        "DP_CREDENTIAL_LOGIN_BEARER_TOKEN_PATH": "/jwt",
        "DP_CREDENTIAL_LOGIN_NAMESPACE": "ns",
        "DP_CREDENTIAL_LOGIN_META1": "pod=default/web",
        "DP_CREDENTIAL_LOGIN_META3": "a=b=c",
    }
    credentials = load(None, env, BASE).consul.credentials
    assert (credentials.type, credentials.auth_method) == ("login", "k8s")
    assert credentials.bearer_token_file == "/jwt"
    assert credentials.namespace == "ns"
    assert credentials.meta == {"pod": "default/web", "a": "b=c"}
    keys = dataplane.to_keys({"login-meta": ["pod=x", "y=z"]})
    assert keys == {"consul.credentials.meta": {"pod": "x", "y": "z"}}


def test_what_goes_before_what(tmp_path: Path) -> None:
    """The file, then consul-dataplane's variables, then ours, then flags."""
    file = tmp_path / "c.toml"
    file.write_text("[consul]\ngrpc_port = 1\n[consul.tls]\ndisabled = true")
    env = {"DP_CONSUL_GRPC_PORT": "2"}
    assert load(file, {}).consul.grpc_port == 1
    assert load(file, env).consul.grpc_port == 2
    assert load(file, env, {"consul.grpc_port": 3}).consul.grpc_port == 3


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DP_CONSUL_GRPC_PORT": "s3cr3t"}, "DP_CONSUL_GRPC_PORT: must be a number"),
        ({"DP_TLS_DISABLED": "s3cr3t"}, "DP_TLS_DISABLED: must be true or false"),
        ({"DP_CREDENTIAL_LOGIN_META1": "s3cr3t"}, "META: write it like key=value"),
        ({"DP_CREDENTIAL_TYPE": "s3cr3t"}, "consul.credentials.type: must be one of"),
    ],
)
def test_a_mistake_is_named_and_not_repeated(env: dict[str, str], said: str) -> None:
    """It may be a secret in the wrong place."""
    with pytest.raises(ConfigError) as caught:
        load(None, env, BASE)
    assert said in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run -xds-bind-port 1", "-xds-bind-port: there is no process between"),
        ("run --graceful-port=1", "-graceful-port: here that is api.listen"),
        ("stop --proxy x -proxy-node-id 3", "-proxy-node-id: here that is proxies[]"),
    ],
)
def test_a_flag_that_is_not_taken_says_why(words: str, said: str) -> None:
    """In one line, as an error of the configuration."""
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(not DATAPLANE, reason="no consul-dataplane: CONSUL_DATAPLANE_BIN")
def test_the_table_is_its_help() -> None:
    """Every flag of this consul-dataplane has a row."""
    answer = subprocess.run(
        [DATAPLANE, "-h"], capture_output=True, text=True, check=False
    )
    text = answer.stderr + answer.stdout
    flags = set(re.findall(r"(?m)^\s+-([a-z0-9-]+)", text))
    assert flags <= FLAGS.keys()
