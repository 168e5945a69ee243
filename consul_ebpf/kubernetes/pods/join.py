"""Which of Consul's registrations is which volume's. Pure.

Kubelet says which pod a volume is of. A registration says it, too, in its meta, but
annotations of a pod can forge that. So what is joined here gives a pod nothing: its
Envoy's bootstrap is asked for with the pod's own token. A forged registration can only
stand beside the true one, and it is told from that by its id if consul-k8s made both:
the id begins with the name of the pod that it really is of.
"""

from collections.abc import Iterable, Mapping

import msgspec

from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.model.names import shown

SIDECAR = "connect-proxy"

SHOWN = 3
"""Ids named in a message."""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy or gateway as it is registered in Consul for a pod."""

    id: str
    kind: str = SIDECAR
    destination: str = ""
    """The service that it is a proxy of; empty: it is a gateway."""
    namespace: str = "default"
    partition: str = "default"
    pod: str = ""
    """Meta `pod-name`."""
    pod_namespace: str = ""
    """Meta `k8s-namespace`."""
    pod_uid: str = ""
    """Meta `pod-uid`; API gateways have none."""
    kubernetes_service: str = ""
    """Meta `k8s-service-name`."""

    @property
    def is_plain(self) -> bool:
        """Whether the id is as consul-k8s makes it for the pod in the meta."""
        if self.kind == SIDECAR:
            return self.id == f"{self.pod}-{self.destination}-sidecar-proxy"
        return self.id == self.pod


class Joined(msgspec.Struct, frozen=True):
    """What Consul has for a volume."""

    registration: Registration | None = None
    """Its registration; None: there was none yet."""
    awaits: str = ""
    """Why there is none, for people."""
    ended: bool = False
    """Whether Consul had the registration and has it no more: the pod ends."""


def join(
    volumes: Iterable[Volume],
    registrations: Iterable[Registration] | None,
    before: Mapping[str, Registration],
    node: str,
) -> dict[str, Joined]:
    """Find each volume's registration; return them by volume id.

    Args:
        volumes: of this node.
        registrations: of this node; None: Consul has not told yet.
        before: by volume id, what was found the last time.
        node: Consul's name of this node.
    """
    by_pod: dict[tuple[str, str], list[Registration]] = {}
    for each in registrations or ():
        by_pod.setdefault((each.pod_namespace, each.pod), []).append(each)
    joined = {}
    for volume in volumes:
        known = before.get(volume.id)
        if registrations is None:
            why = f"Consul has not told yet which pods are registered on node {node}"
            joined[volume.id] = Joined(known, "" if known else why)
            continue
        among = by_pod.get((volume.namespace, volume.pod), [])
        joined[volume.id] = _of(volume, among, known)
    return joined


def _of(
    volume: Volume, among: Iterable[Registration], known: Registration | None
) -> Joined:
    candidates = [each for each in among if _may_be(volume, each)]
    candidates = [each for each in candidates if each.is_plain] or candidates
    same = [each for each in candidates if known is not None and each.id == known.id]
    if len(candidates) == 1 or same:
        return Joined((same or candidates)[0])
    if not candidates:
        why = f"Consul has no registration of {volume.owner} yet"
        if service := volume.attributes.service:
            why = f"{why} for service {shown(service)}"
        return Joined(known, "" if known else why, ended=known is not None)
    ids = ", ".join(shown(each.id) for each in candidates[:SHOWN])
    why = (
        f"Consul has {len(candidates)} registrations of {volume.owner} ({ids}): name"
        " each volume's service, or find out who has forged one"
    )
    return Joined(known, "" if known else why)


def _may_be(volume: Volume, registration: Registration) -> bool:
    gateway = registration.kind != SIDECAR
    service = volume.attributes.service
    return (
        registration.pod_uid in {"", volume.uid}
        and (volume.attributes.kind == "gateway") == gateway
        and (registration.id == volume.pod or _has_prefix(registration, volume.pod))
        and service in {"", registration.destination, registration.kubernetes_service}
    )


def _has_prefix(registration: Registration, pod: str) -> bool:
    return registration.id.startswith(f"{pod}-")
