"""What is served to pods: volumes, and kubelet's word on the node plugin."""

from dataclasses import dataclass

VOLUMES_FILE = "volumes.json"
"""The file of the pods' volumes, in the bootstraps' directory: gone after a reboot, as
the mounts are."""


@dataclass(frozen=True, slots=True)
class PluginState:
    """What kubelet can do with the node plugin, and what it said."""

    serving: bool = False
    """Whether both sockets are open."""
    registered: bool | None = None
    """Kubelet's newest word; None: it has not said anything yet."""
    error: str = ""
    """Why it refused."""


@dataclass(frozen=True, slots=True)
class PodVolume:
    """A volume of a pod on this node."""

    key: str
    """The key of its proxy."""
    pod: str
    """`NAMESPACE/NAME`."""
    uid: str
    """The pod's."""
    published: bool
    """Whether kubelet was told that it is ready."""
