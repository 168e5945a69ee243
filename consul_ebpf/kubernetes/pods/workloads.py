"""`VolumeWorkloads`: the volumes' proxies, joined with Consul's registrations."""

import logging
from collections.abc import AsyncIterator
from functools import partial

import msgspec

from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.kubernetes.attributes import InvalidAttributeError
from consul_ebpf.kubernetes.pods.join import Joined, Registration, join
from consul_ebpf.kubernetes.pods.kept import Change, Kept, KeptVolumes
from consul_ebpf.kubernetes.pods.proxy import Node, proxy_of
from consul_ebpf.kubernetes.pods.volume import Volume
from consul_ebpf.model.values import Proxy

logger = logging.getLogger(__name__)


class VolumeWorkloads:
    """A `WorkloadSource` of the pods' proxies; it has the seam `Lacks`.

    Args:
        kept: the volumes; what Consul has for each is kept there, too.
        registrations: what Consul has of this node's pods.
        node: this node.
    """

    def __init__(
        self,
        kept: KeptVolumes,
        registrations: Latest[tuple[Registration, ...]],
        node: Node,
    ) -> None:
        self._kept = kept
        self._registrations = registrations
        self._node = node
        self._refused = Reasons(logger, "proxy_refused")
        self._made: dict[str, tuple[Volume, str, Joined, Proxy]] = {}
        """By volume id the proxy made last, and what of: most stay as they are."""

    def __repr__(self) -> str:
        return f"<VolumeWorkloads of {len(self._kept.volumes)} volumes>"

    @property
    def lacking(self) -> tuple[str, ...]:
        """Why there may be other volumes than are known."""
        return self._kept.lacking

    async def watch(self) -> AsyncIterator[tuple[Proxy, ...]]:
        """Yield the proxies of all volumes at once and after each change, for ever."""
        await self._kept.load()
        changes = Changes(self._kept.cell, self._registrations)
        last: tuple[Proxy, ...] | None = None
        while True:
            await changes.wait()
            if (now := self._proxies()) != last:
                last = now
                yield now

    def _proxies(self) -> tuple[Proxy, ...]:
        volumes = self._kept.volumes
        before = {id_: each.registration for id_, each in volumes.items()}
        joined = join(
            (each.volume for each in volumes.values()),
            self._registrations.value,
            {id_: each for id_, each in before.items() if each is not None},
            self._node.catalog_node,
        )
        before_this, self._made = self._made, {}
        news: dict[str, Change] = {}
        refused = []
        for id_, each in volumes.items():
            found = joined[id_]
            basis = each.volume, each.cgroup, found
            made = before_this.get(id_)
            try:
                if made is None or made[:3] != basis:
                    made = *basis, proxy_of(each.volume, found, each.cgroup, self._node)
                self._made[id_] = made
            except InvalidAttributeError as error:  # a later version has taken it
                refused.append(f"{each.volume.owner}: {error}")
            if found.registration != each.registration:
                news[id_] = partial(_with_registration, found.registration)
        self._refused.report(refused)
        if news:
            self._kept.change_soon(news)
        return tuple(proxy for *_, proxy in self._made.values())


def _with_registration(found: Registration | None, kept: Kept | None) -> Kept | None:
    return kept and msgspec.structs.replace(kept, registration=found)
