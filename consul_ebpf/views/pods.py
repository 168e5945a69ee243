"""What a snapshot tells of a node of Kubernetes: its pods' volumes, kubelet's word."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from consul_ebpf.controller.outcomes import Outcome, Refused
from consul_ebpf.views.snapshot import Snapshot

Reason = Literal["kernel", "registration", "token", "bootstrap"]
"""What a volume waits for: a place in the kernel's table, Consul's registration of the
pod, an ACL token, the rest of its files."""


@dataclass(frozen=True, slots=True)
class VolumeStatus:
    """A volume of a pod."""

    pod: str
    """`NAMESPACE/NAME`."""
    uid: str
    proxy: str
    """As the list of proxies has it."""
    published: bool
    """Whether kubelet was told that it is ready."""
    problems: list[str]
    """What is missing or wrong, a line each."""

    @property
    def waits(self) -> bool:
        """Whether something is missing."""
        return bool(self.problems) or not self.published


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What is there for kubelet and the pods of this node."""

    serving: bool | None = None
    """Whether kubelet can call the running controller; None: not known here."""
    registered: bool | None = None
    """Kubelet's newest word on the driver; None: there is none, or not known here."""
    error: str = ""
    """Why kubelet refused the driver."""
    volumes: list[VolumeStatus] = field(default_factory=list)
    """By pod."""


def node_of(snapshot: Snapshot) -> NodeStatus | None:
    """Return what is shown of this node; None: it is none of Kubernetes."""
    volumes = snapshot.remembered.volumes
    if volumes is None:
        return None
    ids, problems = snapshot.remembered.ids, snapshot.remembered.problems.proxies
    shown = []
    for each in sorted(volumes, key=lambda volume: (volume.pod, volume.key)):
        name = ids.get(each.key, each.key)
        wrong = list(problems.get(name, ()))
        shown.append(VolumeStatus(each.pod, each.uid, name, each.published, wrong))
    plugin = snapshot.inside.plugin
    if plugin is None:
        return NodeStatus(volumes=shown)
    return NodeStatus(plugin.serving, plugin.registered, plugin.error, shown)


def waiting(snapshot: Snapshot) -> dict[Reason, int]:
    """Return how many volumes wait, by what they wait for."""
    outcomes = snapshot.inside.proxies.outcomes
    found: dict[Reason, int] = dict.fromkeys(
        ("kernel", "registration", "token", "bootstrap"), 0
    )
    for each in snapshot.remembered.volumes or ():
        if reason := _reason(outcomes, each.key):
            found[reason] += 1
    return found


def _reason(outcomes: Mapping[str, Outcome], key: str) -> Reason | None:
    outcome = outcomes.get(key)
    if outcome is None or isinstance(outcome, Refused):
        return "kernel"
    proxy = outcome.placed.proxy
    if outcome.waiting is None:
        return None
    if not proxy.id:
        return "registration"
    wants_token = proxy.credentials is not None and proxy.credentials.login is not None
    return "token" if wants_token and outcome.token == "" else "bootstrap"
