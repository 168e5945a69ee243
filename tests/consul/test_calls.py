"""Calls to real servers: bootstraps' parameters, logins, and who answers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_ebpf import ConsulError, Login, Proxy, Server
from consul_ebpf.client import acl_grpc as acl
from consul_ebpf.client import dataplane, leader, watch_servers
from consul_ebpf.client.calls import CallError, ServerCalls
from consul_ebpf.client.channels import insecure_channel
from consul_ebpf.client.dataplane import bootstrap_params
from consul_ebpf.client.rpc import ask
from consul_ebpf.model.errors import TokenRefusedError
from consul_ebpf.servers import probe
from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.jwt import METHOD, Issuer
from tests.lab.rpc import calls_to, params_of

pytestmark = pytest.mark.consul


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        yield cluster


async def test_what_consul_says_of_a_sidecar(cluster: ConsulCluster) -> None:
    """Its service, datacenter, access logs, and central configuration as it is."""
    entry = {
        "Kind": "proxy-defaults",
        "Name": "global",
        "Config": {"envoy_stats_tags": ["canary"], "local_connect_timeout_ms": 1000},
        "AccessLogs": {"Enabled": True, "JSONFormat": '{"start": "%START_TIME%"}'},
    }
    cluster.call("PUT", "/v1/config", entry)
    proxy = Proxy(cluster.register_proxy("web"), "host1-virtual")
    params = await params_of(cluster, proxy, cluster.management_token)
    assert (params.identity, params.datacenter) == ("web", "dc1")
    assert params.node_name == "host1-virtual"
    assert params.config["envoy_stats_tags"] == "canary"  # a list of one
    assert params.config["local_connect_timeout_ms"] == 1000
    assert "StdoutAccessLog" in json.dumps([json.loads(a) for a in params.access_logs])


@pytest.mark.parametrize("kind", ["api", "ingress", "mesh", "terminating"])
async def test_what_consul_says_of_a_gateway(cluster: ConsulCluster, kind: str) -> None:
    """Its identity is its own service."""
    name = f"{kind}-gateway"
    service = {"Kind": name, "ID": f"{name}-1", "Service": name, "Port": 8443}
    body = {"Node": "host1-virtual", "Address": "127.0.0.1", "Service": service}
    cluster.call("PUT", "/v1/catalog/register", body)
    proxy = Proxy(f"{name}-1", "host1-virtual")
    params = await params_of(cluster, proxy, cluster.management_token)
    assert params.identity == name


@pytest.mark.parametrize(
    ("proxy", "token", "code"),
    [
        (Proxy("nobody", "host1-virtual"), True, "NOT_FOUND"),
        (Proxy("web-sidecar-proxy", "no-such-node"), True, "NOT_FOUND"),
        (Proxy("web-sidecar-proxy", "host1-virtual"), False, "PERMISSION_DENIED"),
    ],
)
async def test_a_refusal_has_its_code(
    cluster: ConsulCluster, proxy: Proxy, token: bool, code: str
) -> None:
    """And is said in one line, with the server that said it."""
    cluster.register_proxy("web")
    with pytest.raises(ConsulError, match=code) as caught:
        await params_of(cluster, proxy, cluster.management_token if token else "")
    assert isinstance(caught.value, TokenRefusedError) is not token
    assert cluster.addresses[0] in str(caught.value)


async def test_a_login_and_its_end(cluster: ConsulCluster) -> None:
    """The token is accepted between the two, and carries its metadata."""
    issuer = Issuer()
    issuer.install(cluster)
    calls = calls_to(cluster)
    (server,) = calls.servers
    how = Login(METHOD, meta=(("pod", "default/web"),))
    bearer = issuer.jwt("web")
    secret = await acl.login(calls, how, bearer)
    assert await calls.accepts(server, secret)
    (token,) = issuer.tokens(cluster)
    assert '"pod":"default/web"' in token["Description"]
    await acl.logout(calls, secret, "")
    assert not await calls.accepts(server, secret)
    with pytest.raises(CallError) as caught:
        await acl.login(calls, how, issuer.jwt("web", seconds=-3600))
    assert bearer not in str(caught.value)
    await calls.aclose()


async def test_the_next_server_is_asked(cluster: ConsulCluster) -> None:
    """Where one does not answer; where none does, the last reason is told."""
    alive = Server.at(cluster.addresses[0], GRPC_PORT)
    dead = Server.at(cluster.addresses[0], 1)
    calls = ServerCalls(lambda: [dead, alive], insecure_channel)
    proxy = Proxy(cluster.register_proxy("web"), "host1-virtual")
    token = cluster.management_token
    found = await bootstrap_params(calls, proxy, token)
    assert found is not None
    assert found.identity == "web"
    await calls.aclose()
    calls = ServerCalls(lambda: [dead], insecure_channel)
    with pytest.raises(ConsulError, match=r"no Consul server answers .*UNAVAILABLE"):
        await bootstrap_params(calls, proxy, token)
    await calls.aclose()


@pytest.mark.parametrize(
    "method",
    [
        leader.METHOD,
        probe.FEATURES,
        watch_servers.METHOD,
        f"/hashicorp.consul.{dataplane.METHOD}",
        "/hashicorp.consul.acl.ACLService/Login",
        "/hashicorp.consul.acl.ACLService/Logout",
    ],
)
async def test_every_call_is_known(cluster: ConsulCluster, method: str) -> None:
    """Contract tests say what happens without one; no Consul here comes to that."""
    assert await refusal(cluster, method) != "UNIMPLEMENTED"


async def test_grpcs_health_is_not(cluster: ConsulCluster) -> None:
    """So a probe asks something else."""
    assert await refusal(cluster, probe.CHECK) == "UNIMPLEMENTED"


async def refusal(cluster: ConsulCluster, method: str) -> str:
    """Call without a token and with an empty message; return the error's code."""
    channel = insecure_channel(f"{cluster.addresses[0]}:{GRPC_PORT}")
    try:
        with pytest.raises(CallError) as caught:
            await ask(channel, method, b"", len, who="server", seconds=5)
    finally:
        await channel.close()
    return caught.value.code
