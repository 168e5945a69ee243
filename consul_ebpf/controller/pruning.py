"""Removes the files of proxies that are gone. Blocking."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from consul_ebpf.controller.inputs import Inputs
from consul_ebpf.controller.outcomes import Outcome, Refused
from consul_ebpf.controller.placing import Placement
from consul_ebpf.envoy.files import BootstrapFiles
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import Proxy


class Pruner:
    """Removes files, and looks for them only when there may be some."""

    def __init__(self, files: BootstrapFiles) -> None:
        self._files = files
        self._pruned: AbstractSet[object] | None = None
        """Keys and places of the proxies that may have files; None: others may have."""

    def __repr__(self) -> str:
        return f"<Pruner {self._files!r}>"

    def prune(
        self, placement: Placement, inputs: Inputs, outcomes: Mapping[str, Outcome]
    ) -> str:
        """Remove the files that no proxy needs; return why that failed, or empty."""
        if inputs.lacking:
            self._pruned = None
            return ""
        places = {_place_of(each.proxy) for each in placement.placed}
        # A proxy whose files move needs the old ones until the new ones are written.
        there = all(isinstance(o, Refused) or o.bootstrap for o in outcomes.values())
        if self._pruned is not None and self._pruned <= places:
            self._pruned = places
            return ""
        try:
            self._files.prune({each.proxy.key for each in placement.placed})
        except ConsulEbpfError as error:
            self._pruned = None
            return str(error)
        self._pruned = places if there else None
        return ""


def _place_of(proxy: Proxy) -> object:
    """Return the key of a proxy, and where its files go if that is elsewhere."""
    return proxy.key if proxy.files is None else (proxy.key, proxy.files)
