"""What is registered: a proxy of a service that calls a small one, or a large one."""

from typing import Any

from tests.lab.consul import ConsulCluster

NODE = "host1-virtual"
SMALL, LARGE = "small", "large"
INSTANCES = {SMALL: 1, LARGE: 5000}
AT_ONCE = 60
"""Consul takes few more in one transaction."""


def caller_of(service: str) -> str:
    """Return the service that calls this one."""
    return f"calls-{service}"


def proxy_of(service: str) -> str:
    """Return the id of a service's proxy."""
    return f"{service}-sidecar-proxy"


def register(cluster: ConsulCluster) -> None:
    """Put it into the catalog. So many proxies leave room for streams on a server."""
    address = cluster.addresses[0]
    for name, count in INSTANCES.items():
        caller = caller_of(name)
        proxy = _sidecar(proxy_of(caller), caller, address, 21000)
        upstream = {"DestinationName": name, "LocalBindPort": 9191}
        proxy["Proxy"] |= {"LocalServicePort": 9090, "Upstreams": [upstream]}
        sidecars = [
            _sidecar(f"{name}-{n}", name, f"10.9.{n // 250}.{n % 250 + 1}", 8080)
            for n in range(count)
        ]
        operations = [
            {"Service": {"Verb": "set", "Node": NODE, "Service": each}}
            for each in sidecars
        ]
        # A transaction would leave out the upstreams.
        body = {"Node": NODE, "Address": address, "Service": proxy}
        cluster.call("PUT", "/v1/catalog/register", body)
        for begin in range(0, len(operations), AT_ONCE):
            cluster.call("PUT", "/v1/txn", operations[begin : begin + AT_ONCE])


def _sidecar(id_: str, service: str, address: str, port: int) -> dict[str, Any]:
    return {
        "Kind": "connect-proxy",
        "ID": id_,
        "Service": proxy_of(service),
        "Address": address,
        "Port": port,
        "Proxy": {"DestinationServiceName": service},
    }
