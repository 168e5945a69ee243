"""The inline volume of the node plugin, as it stands in a pod's object. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from consul_ebpf.config.schema import Config
from consul_ebpf.kubernetes.attributes import Attributes, InvalidAttributeError
from consul_ebpf.kubernetes.pods.proxy import Node, check
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.kubernetes.webhook.containers import Place
from consul_ebpf.kubernetes.webhook.pod import Pod
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError
from consul_ebpf.model.names import shown

Json = dict[str, Any]

_NODE = Node(catalog_node="node-virtual")
_ANY = Volume(
    id="csi-0",
    target="/",
    namespace="default",
    pod="pod",
    uid="0",
    service_account="default",
)
"""What nobody knows before the pod is there; the attributes are what is checked."""


def volume_of(
    name: str, attributes: Attributes, config: Config, secret: str = ""
) -> Json:
    """Return a volume of the node plugin.

    Args:
        name: the volume's.
        attributes: what the plugin is told.
        config: names the driver.
        secret: the Secret with the bearer token; empty: kubelet hands the pod's over.

    Raises:
        SkipError: the plugin would refuse it.
    """
    wire = attributes.written()
    try:
        check(msgspec.structs.replace(_ANY, attributes=Attributes.read(wire)), _NODE)
    except InvalidAttributeError as error:
        raise SkipError(Reason.OPTION, str(error)) from None
    csi: Json = {
        "driver": config.kubernetes.driver,
        "readOnly": True,
        "volumeAttributes": wire,
    }
    if secret:
        csi["nodePublishSecretRef"] = {"name": secret}
    return {"name": name, "csi": csi}


def mount_of(name: str, path: str) -> Json:
    """Return a container's mount of such a volume."""
    return {"name": name, "mountPath": path, "readOnly": True}


def refuse_taken(pod: Pod, name: str, path: str, users: Iterable[Place]) -> None:
    """Refuse a pod in which somebody else has the place of our volume.

    Raises:
        SkipError: naming what is in the way.
    """
    if any(each.name == name for each in pod.spec.volumes or ()):
        raise SkipError(Reason.VOLUME, f"it has a volume {name} already")
    for user in users:
        for each in user.container.volume_mounts or ():
            taken = f"{each.mount_path.rstrip('/')}/"
            if taken.startswith(f"{path}/") or f"{path}/".startswith(taken):
                what = f"container {user.container.name} has a mount at"
                raise SkipError(Reason.VOLUME, f"{what} {shown(each.mount_path)}")
