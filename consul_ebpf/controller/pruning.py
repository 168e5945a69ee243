"""Removes the files of proxies that are gone. Blocking."""

from collections.abc import Mapping

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
        self._pruned: Placement | None = None
        """Its proxies may have files; None: others may have some, too."""

    def __repr__(self) -> str:
        return f"<Pruner {self._files!r}>"

    def prune(
        self, placement: Placement, inputs: Inputs, outcomes: Mapping[str, Outcome]
    ) -> str:
        """Remove the files that no proxy needs; return why that failed, or empty."""
        if inputs.lacking:
            self._pruned = None
            return ""
        if placement is self._pruned:
            return ""
        if self._pruned is not None and _places(self._pruned) <= _places(placement):
            self._pruned = placement
            return ""
        # A proxy whose files move needs the old ones until the new ones are written.
        there = all(isinstance(o, Refused) or o.bootstrap for o in outcomes.values())
        try:
            self._files.prune({each.proxy.key for each in placement.placed})
        except ConsulEbpfError as error:
            self._pruned = None
            return str(error)
        self._pruned = placement if there else None
        return ""


def _places(placement: Placement) -> set[object]:
    """Return the keys of the proxies, with where files go that are elsewhere."""
    return {_place_of(each.proxy) for each in placement.placed}


def _place_of(proxy: Proxy) -> object:
    """Return the key of a proxy, and where its files go if that is elsewhere."""
    return proxy.key if proxy.files is None else (proxy.key, proxy.files)
