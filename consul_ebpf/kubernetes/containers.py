"""The containers of a pod, and where they are in it. Pure."""

from typing import Literal

import msgspec

from consul_ebpf.kubernetes.pod import Container, Pod
from consul_ebpf.kubernetes.reasons import Reason, SkipError

MAX_CONTAINERS = 256
MAX_WORDS = 4096
"""Words of a container's command line, and variables of it, that are looked at."""


List = Literal["containers", "initContainers"]


class Place(msgspec.Struct, frozen=True):
    """A container, and where in the pod it is."""

    list: List
    index: int
    container: Container

    @property
    def native(self) -> bool:
        """Whether it is a native sidecar."""
        return self.list == "initContainers" and (
            self.container.restart_policy == "Always"
        )


def pod_of(data: object) -> Pod:
    """Read a pod.

    Raises:
        SkipError: it has not the form of one, or is larger than is looked at.
    """
    try:
        pod = msgspec.convert(data, Pod)
    except (msgspec.ValidationError, RecursionError) as error:
        raise SkipError(Reason.MALFORMED, f"not the form of a pod: {error}") from None
    everything = places(pod)
    if len(everything) > MAX_CONTAINERS:
        raise SkipError(Reason.FULL, f"it has more than {MAX_CONTAINERS} containers")
    for each in everything:
        container = each.container
        if max(len(container.words), len(container.env or ())) > MAX_WORDS:
            what = f"container {container.name} has more than {MAX_WORDS} arguments"
            raise SkipError(Reason.FULL, f"{what} or variables")
    return pod


def places(pod: Pod) -> list[Place]:
    """Return all containers, in the order in which they start."""
    init = pod.spec.init_containers or ()
    return [
        *(Place("initContainers", i, each) for i, each in enumerate(init)),
        *(Place("containers", i, each) for i, each in enumerate(pod.spec.containers)),
    ]
