"""What the logins of all keys of a host share."""

from collections.abc import Callable
from dataclasses import dataclass

from consul_ebpf.model.seams import Acl
from consul_ebpf.tokens.pace import Pace
from consul_ebpf.tokens.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Shared:
    """Consul, what is kept, and the pace at which Consul is asked."""

    acl: Acl
    sessions: Sessions
    pace: Pace
    check: Callable[[], float]
    """Returns the seconds between looks at one token that nobody doubts."""
    clock: Callable[[], float]
    """Unix time."""
