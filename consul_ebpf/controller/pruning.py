"""Remove the files of proxies that are gone. Blocking."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.outcomes import Outcome, Refused
from consul_ebpf.controller.placing import Placement
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import ConsulEbpfError


class Pruner:
    """Looks for files to remove when there may be any."""

    def __init__(self, files: BootstrapFiles) -> None:
        self._files = files
        self._pruned: AbstractSet[object] | None = None
        """Whose files there are at most, and where; None: there may be others."""

    def __repr__(self) -> str:
        return f"<Pruner {self._files!r}>"

    def prune(
        self, placement: Placement, inputs: Inputs, outcomes: Mapping[str, Outcome]
    ) -> str:
        """Remove what nobody needs; return why that failed."""
        if inputs.lacking:
            self._pruned = None
            return ""
        places = {(each.proxy.key, each.proxy.files) for each in placement.bound}
        # What is elsewhere now may be needed in its old place until it is there.
        there = all(isinstance(o, Refused) or o.bootstrap for o in outcomes.values())
        if self._pruned is not None and self._pruned <= places:
            self._pruned = places
            return ""
        try:
            self._files.prune({each.proxy.key for each in placement.bound})
        except ConsulEbpfError as error:
            self._pruned = None
            return str(error)
        self._pruned = places if there else None
        return ""
