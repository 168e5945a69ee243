"""What flows between the parts of a controller: each cell, and who fills it.

A part is given the cells that it reads, and fills one. It calls no other part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consul_ebpf.base.latest import Latest
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.model.values import HostProxies


@dataclass(frozen=True, slots=True)
class Cells:
    """The newest value of everything that more than one part has to do with."""

    proxies: Latest[HostProxies] = field(default_factory=Latest)
    """The host's proxies: filled by the proxy follower, from the sources."""
    reconnected: Latest[Mapping[str, int]] = field(default_factory=Latest)
    """By proxy key how often its Envoy was seen to connect anew: by the moves. A
    token that is refused may be the reason."""
    refused: Latest[Mapping[str, int]] = field(default_factory=Latest)
    """By proxy key how often the servers refused its token when they were asked about
    its bootstrap: by the central configuration."""
    outcome: Latest[Converged] = field(default_factory=Latest)
    """What each proxy has come to, and what is missing: by the rounds. The first
    value comes in time for READY, with whatever is known by then."""
    alive: Latest[int] = field(default_factory=Latest)
    """Another number every other second while work gets done, and none while a piece
    of it is stuck: by the watchdog."""
