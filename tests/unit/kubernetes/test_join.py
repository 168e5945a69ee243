"""Which registration is which volume's, with all that a registration can claim."""

from typing import Any

import pytest

from consul_ebpf.kubernetes.attributes import Attributes
from consul_ebpf.kubernetes.pods.join import Joined, Registration, join
from consul_ebpf.kubernetes.pods.volume import Volume

UID = "0a1b2c3d-0000-4000-8000-00000000abcd"


def volume(id_: str = "csi-1", **attributes: Any) -> Volume:
    return Volume(
        id=id_,
        target=f"/k/pods/{UID}/volumes/kubernetes.io~csi/consul-ebpf/mount",
        namespace="shop",
        pod="web-1",
        uid=UID,
        service_account="web",
        attributes=Attributes(**attributes),
    )


def registered(id_: str = "web-1-web-sidecar-proxy", **more: Any) -> Registration:
    usual: dict[str, Any] = {
        "destination": "web",
        "pod": "web-1",
        "pod_namespace": "shop",
        "pod_uid": UID,
        "kubernetes_service": "web-svc",
    }
    return Registration(id=id_, **(usual | more))


def of(
    *registrations: Registration, known: Registration | None = None, **attributes: Any
) -> Joined:
    before = {"csi-1": known} if known else {}
    mine = volume(**attributes)
    return join([mine], registrations, before, "n1-virtual")["csi-1"]


def gateway(kind: str, **more: Any) -> Registration:
    return registered("web-1", kind=kind, destination="", **more)


@pytest.mark.parametrize(
    ("registration", "attributes"),
    [
        (registered(), {}),
        (registered(), {"service": "web"}),
        (registered(), {"service": "web-svc"}),
        (registered("web-1-of-mine"), {}),
        (gateway("mesh-gateway"), {"kind": "gateway"}),
        (gateway("api-gateway", pod_uid=""), {"kind": "gateway"}),
    ],
)
def test_a_pods_own_registration_is_found(
    registration: Registration, attributes: dict[str, Any]
) -> None:
    """By the pod's name, namespace and uid, its kind, and its service if named."""
    assert Joined(registration) == of(registration, **attributes)


@pytest.mark.parametrize(
    "other",
    [
        registered(pod="web-2"),
        registered(pod_namespace="other"),
        registered(pod_uid=UID.replace("a", "b")),
        registered("api-1-api-sidecar-proxy"),
        registered("web-11-web-sidecar-proxy"),
        gateway("mesh-gateway"),
    ],
)
def test_others_registrations_are_not_taken(other: Registration) -> None:
    """One thing that differs is enough; it says whose registration is missing."""
    joined = of(other)

    assert joined.registration is None
    assert "Consul has no registration of pod shop/web-1 yet" == joined.awaits


def test_fault_k_a_forged_registration_gives_nobody_anything() -> None:
    """By its id, a registration that names another pod is told from the true one.

    The forger is pod `web`, of service `1-web`: so its id begins with `web-1-`, too.
    """
    forged = registered("web-1-web-sidecar-proxy-x", destination="1-web")

    assert Joined(registered()) == of(forged, registered())
    assert Joined(registered()) == of(forged, registered(), known=forged)


def test_fault_k_of_two_registrations_none_is_taken() -> None:
    """Nothing tells them apart: no proxy is made of either, and the reason is said."""
    joined = of(registered("web-1-a"), registered("web-1-b"))

    assert joined.registration is None
    assert "2 registrations of pod shop/web-1 ('web-1-a', 'web-1-b')" in joined.awaits


def test_one_that_was_taken_stays_beside_another() -> None:
    """Whoever registers a second one later cannot take the first one away."""
    mine = registered("web-1-a")

    assert Joined(mine) == of(mine, registered("web-1-b"), known=mine)


def test_several_services_of_a_pod() -> None:
    """Each volume names its service, and gets that one's proxy."""
    web = registered()
    api = registered("web-1-api-sidecar-proxy", destination="api")

    assert Joined(web) == of(web, api, service="web")
    assert Joined(api) == of(web, api, service="api")
    assert of(web, api).registration is None
    assert "for service 'db'" in of(web, api, service="db").awaits


def test_fault_k_a_pod_that_ends_keeps_its_registration() -> None:
    """consul-k8s deregisters a pod before it ends: the volume keeps what it knew."""
    assert Joined(registered(), ended=True) == of(known=registered())


def test_before_consul_has_told_nothing_has_ended() -> None:
    """After a restart what was known holds; a new pod's reason is another one."""
    known = {"csi-1": registered()}
    volumes = [volume(), volume("csi-2")]

    joined = join(volumes, None, known, "n1-virtual")

    assert Joined(registered()) == joined["csi-1"]
    assert "Consul has not told yet" in joined["csi-2"].awaits


def test_a_changed_registration_is_taken_up() -> None:
    """The same id with other data is the newest one."""
    moved = registered(namespace="team")

    assert Joined(moved) == of(moved, known=registered())
