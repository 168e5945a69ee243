"""Configurations as texts: loaded, or why they are refused."""

from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.config.load import load
from consul_ebpf.config.schema import Config
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
