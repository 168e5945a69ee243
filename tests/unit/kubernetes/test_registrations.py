"""What Consul says of a node's pods, read from its answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.kubernetes.pods.registrations import registrations_in
from consul_ebpf.model.errors import ConsulError

META = {
    "pod-name": "web-1",
    "k8s-namespace": "shop",
    "pod-uid": "u",
    "k8s-service-name": "web-svc",
}


def answer(*services: Any, node: Any = True) -> bytes:
    found = {"Node": "n1-virtual"} if node else None
    return json.dumps({"Node": found, "Services": services}).encode()


def service(**more: Any) -> dict[str, Any]:
    return {
        "ID": "web-1-web-sidecar-proxy",
        "Kind": "connect-proxy",
        "Proxy": {"DestinationServiceName": "web"},
        "Meta": META,
    } | more


def read(body: bytes, *, filtered: bool = False) -> Any:
    return registrations_in(body, filtered, node="n1-virtual")


def test_a_registration_has_what_the_join_needs() -> None:
    """Id, kind, destination, tenancy, and the metas that consul-k8s writes."""
    expected = Registration(
        id="web-1-web-sidecar-proxy",
        destination="web",
        namespace="team",
        pod="web-1",
        pod_namespace="shop",
        pod_uid="u",
        kubernetes_service="web-svc",
    )

    assert ((expected,), ()) == read(answer(service(Namespace="team")))


def test_a_node_that_is_not_there_has_no_pods() -> None:
    """Before the first pod there is no such node, and that is no error."""
    assert ((), ()) == read(answer(node=False))


@pytest.mark.parametrize("body", [answer(node=False), answer()])
def test_what_acls_hide_is_an_error(body: bytes) -> None:
    """A token that lost its rights must not look like pods that have ended."""
    with pytest.raises(ConsulError, match="needs"):
        read(body, filtered=True)


def test_an_id_may_be_longer_than_a_directorys_name() -> None:
    """A pod's and a service's name together can have over 200 bytes; 512 may pass."""
    long, longer = service(ID="w" * 512), service(ID="w" * 513)

    (one,), (line,) = read(answer(long, longer))

    assert 512 == len(one.id)
    assert "at most 512" in line


@pytest.mark.parametrize(
    "bad", [service(ID="a\nb"), service(Meta=["x"]), service(Namespace="/"), "x", None]
)
def test_one_bad_entry_does_not_cost_the_others(bad: Any) -> None:
    """It is skipped with a line that names it."""
    registrations, skipped = read(answer(bad, service()))

    assert 1 == len(registrations)
    assert 1 == len(skipped)
    assert skipped[0].isprintable()


def test_services_without_an_envoy_are_left_out() -> None:
    """The pods' own services are on the same node."""
    assert ((), ()) == read(answer(service(Kind="")))


@given(
    st.dictionaries(
        st.sampled_from(["ID", "Kind", "Meta", "Proxy", "Namespace", "Partition"]),
        st.none()
        | st.text(max_size=8)
        | st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.none()),
    )
)
def test_whatever_a_registration_holds_is_used_or_skipped(entry: Any) -> None:
    """No entry, of whatever content, raises or ends up in two places."""
    registrations, skipped = read(answer(service() | entry))

    assert len(registrations) + len(skipped) <= 1
