"""The containers of a pod, and where they are in it. Pure."""

from typing import Literal

import msgspec

from consul_ebpf.kubernetes.webhook.pod import Container, Pod
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError

MAX_CONTAINERS = 256
MAX_WORDS = 4096
"""Words of a container's command line, and variables of it, that are looked at."""

MAX_TEXT = 512 * 1024
"""Characters of all these together."""

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
        SkipError: it has not the form of one.
    """
    try:
        return msgspec.convert(data, Pod)
    except (msgspec.ValidationError, RecursionError) as error:
        raise SkipError(Reason.MALFORMED, f"not the form of a pod: {error}") from None


def refuse_large(pod: Pod) -> None:
    """Refuse a pod that takes long to look at: others wait meanwhile.

    Raises:
        SkipError: naming what there is too much of.
    """
    everything = [each.container for each in places(pod)]
    if len(everything) > MAX_CONTAINERS:
        raise SkipError(Reason.FULL, f"it has more than {MAX_CONTAINERS} containers")
    size = 0
    for each in everything:
        words = (*(each.command or ()), *(each.args or ()))
        if max(len(words), len(each.env or ())) > MAX_WORDS:
            what = f"container {each.name} has more than {MAX_WORDS} arguments"
            raise SkipError(Reason.FULL, f"{what} or variables")
        size += sum(map(len, words)) + sum(len(v.value or "") for v in each.env or ())
    if size > MAX_TEXT:
        what = f"its arguments and variables have more than {MAX_TEXT} characters"
        raise SkipError(Reason.FULL, what)


def places(pod: Pod) -> list[Place]:
    """Return all containers, in the order in which they start."""
    init = pod.spec.init_containers or ()
    return [
        *(Place("initContainers", i, each) for i, each in enumerate(init)),
        *(Place("containers", i, each) for i, each in enumerate(pod.spec.containers)),
    ]
