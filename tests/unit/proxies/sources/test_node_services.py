import json
from typing import Any

import msgspec
import pytest

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Proxy
from consul_ebpf.proxies.sources.node_services import Found, proxies_in

NODE = {"ID": "", "Node": "host1", "Address": "127.0.0.1"}


def service(id_: str, kind: str = "connect-proxy", **more: Any) -> dict[str, Any]:
    return {
        "ID": id_,
        "Kind": kind,
        "Service": id_,
        "Proxy": {"DestinationServiceName": "web", "MeshGateway": {}},
        **more,
    }


def said(data: Any, filtered: bool, *, node: str) -> Found | None:
    return proxies_in(json.dumps(data).encode(), filtered, node=node)


def read(*services: Any) -> tuple[tuple[Proxy, ...], tuple[str, ...]]:
    answer = said({"Node": NODE, "Services": [*services]}, False, node="host1")
    assert answer is not None
    return answer


def test_proxy() -> None:
    """A connect proxy is a proxy of its destination, owned by its node."""
    expected = Proxy("web-proxy", "host1", service="web", owner="catalog node host1")
    assert read(service("web-proxy")) == ((expected,), ())


def test_tenancy() -> None:
    """Enterprise's namespace and partition are the entry's own."""
    ((proxy,), _) = read(service("a", Namespace="ns", Partition="ap"))
    assert (proxy.namespace, proxy.partition) == ("ns", "ap")


def test_other_services() -> None:
    """What is no Envoy of ours is passed over without a word."""
    others = [service("web", ""), service("new", "some-new-kind")]
    assert read(*others) == ((), ())


@pytest.mark.parametrize("kind", ["api", "ingress", "mesh", "terminating"])
def test_gateways(kind: str) -> None:
    """They are Envoys, too."""
    ((proxy,), ()) = read(service(f"{kind}-1", f"{kind}-gateway"))
    assert proxy.id == f"{kind}-1"


def test_sorted() -> None:
    """The order is the ids', whatever Consul's is."""
    assert [each.id for each in read(service("b"), service("a"))[0]] == ["a", "b"]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        1,
        {},
        {"ID": 1, "Kind": "connect-proxy"},
        service("../x"),
        service("a\nb"),
        service("\ud800"),
        service("a", Proxy={"DestinationServiceName": "\ud800"}),
        service("a", Namespace="\ud800"),
        service("x" * 100_000),
    ],
)
def test_fault_88_bad_entry(bad: Any) -> None:
    """An entry that cannot be used is named; the others are."""
    proxies, skipped = read(bad, service("good"))
    assert [each.id for each in proxies] == ["good"]
    assert len(skipped) == 1
    assert "host1" in skipped[0]
    assert skipped[0].isprintable()


def test_no_node() -> None:
    """An answer without the node is no answer: gone and hidden look the same."""
    assert said({"Node": None, "Services": None}, False, node="x") is None


def test_hidden() -> None:
    """A node whose services ACLs hide is an error, one without services is empty."""
    with pytest.raises(ConsulError, match="node host1; it needs service:read"):
        said({"Node": NODE, "Services": []}, True, node="host1")
    assert said({"Node": NODE, "Services": []}, False, node="x") == ((), ())
    assert said({"Node": NODE, "Services": None}, False, node="x") == ((), ())


@pytest.mark.parametrize("data", [None, [], {}, "x", {"Node": 1, "Services": []}])
def test_not_an_answer(data: Any) -> None:
    """What is not an answer to the question is refused whole."""
    with pytest.raises(msgspec.ValidationError):
        said(data, False, node="host1")
