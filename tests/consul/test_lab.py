"""The lab's own promises: what other tests build on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.consul import GRPC_PORT, ConsulCluster
from tests.lab.envoy import EnvoyProcess
from tests.lab.http_request import StatusError
from tests.lab.processes import wait_until
from tests.lab.scratch import scratch_netns

pytestmark = pytest.mark.consul


@pytest.fixture(scope="module")
def cluster(consul_bin: Path) -> Iterator[ConsulCluster]:
    with ConsulCluster(consul_bin) as cluster:
        yield cluster


def direct_bootstrap(cluster: ConsulCluster, proxy: str, server: int) -> dict[str, Any]:
    """Write by hand the least an Envoy needs to get its configuration from a server."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    grpc = {"envoy_grpc": {"cluster_name": "consul"}}
    return {
        "admin": {"address": socket_address(cluster.addresses[0], 19001)},
        "node": {
            "id": proxy,
            "cluster": proxy.removesuffix("-sidecar-proxy"),
            "metadata": {"node_name": "host1-virtual"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "consul",
                    "typed_extension_protocol_options": {options: http2},
                    "load_assignment": {
                        "cluster_name": "consul",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {
                                        "endpoint": {
                                            "address": socket_address(
                                                cluster.addresses[server], GRPC_PORT
                                            )
                                        }
                                    }
                                ]
                            }
                        ],
                    },
                }
            ]
        },
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [grpc],
            },
        },
    }


def socket_address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def test_servers_are_in_the_catalog_with_their_grpc_port(
    cluster: ConsulCluster,
) -> None:
    """A ready cluster has a leader, and each server's gRPC port in the catalog."""
    nodes = cluster.call("GET", "/v1/catalog/service/consul")

    assert cluster.call("GET", "/v1/status/leader")
    assert set(cluster.addresses) == {node["Address"] for node in nodes}
    assert {"8502"} == {node["ServiceMeta"]["grpc_port"] for node in nodes}


@pytest.mark.envoy
def test_registered_proxy_gets_its_configuration(
    cluster: ConsulCluster, envoy_bin: Path
) -> None:
    """A registered proxy's Envoy is configured by the server it connects to, and
    again by the same one after that was killed and restarted."""
    proxy = cluster.register_proxy("lab")
    bootstrap = direct_bootstrap(cluster, proxy, server=1)

    with EnvoyProcess(envoy_bin, bootstrap) as envoy:
        assert cluster.grpc_endpoints[1] == envoy.wait_connected()
        assert 1 == envoy.upstream_cx_total

        cluster.kill(1)
        wait_until(lambda: not envoy.xds_server(), "Envoy's connection ended")
        cluster.restart(1)

        assert cluster.grpc_endpoints[1] == envoy.wait_connected(30)
        assert 0 == envoy.stop()
    cluster.deregister("lab")


def test_acls_deny_all_but_the_management_token(consul_bin: Path) -> None:
    """With ACLs on, only the management token may list services."""
    with ConsulCluster(consul_bin, size=1, acl=True) as cluster:
        assert {"consul": []} == cluster.call("GET", "/v1/catalog/services")
        assert {} == cluster.call("GET", "/v1/catalog/services", token="")
        with pytest.raises(StatusError, match="403"):
            cluster.call("GET", "/v1/acl/tokens", token="")


@pytest.mark.kernel
def test_cluster_on_ipv6_in_a_network_namespace(consul_bin: Path) -> None:
    """Servers run on IPv6 addresses of a namespace that goes with the lab."""
    addresses = ["fd64::1", "fd64::2", "fd64::3"]
    with (
        scratch_netns(addresses) as netns,
        ConsulCluster(consul_bin, addresses, netns=netns) as cluster,
    ):
        nodes = cluster.call("GET", "/v1/catalog/service/consul")
        assert set(addresses) == {node["Address"] for node in nodes}
