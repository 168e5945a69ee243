"""The proxies' VIPs and ids on disk, so that they outlive a restart."""

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import Proxy, Vip
from consul_ebpf.proxies.vips import ProxyKey, key_from, parts_of

VIPS_FILE = "vips.json"
"""In the bootstraps' directory."""
IDS_FILE = "ids.json"
"""In the same directory. Not part of `vips.json`: an older version would refuse it."""


class _VipRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    namespace: str
    partition: str
    vip: str
    port: int
    ipv6: bool


class VipMemory:
    """`vips.json` has the VIPs: the one released longest ago first, those in use last.

    `ids.json` has the ids of proxies whose key is not their id, if there are any.
    """

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / VIPS_FILE, list[_VipRecord])
        self._ids = JsonFile(directory / IDS_FILE, dict[str, str])
        self._saved: Mapping[ProxyKey, Vip] | None = None

    def __repr__(self) -> str:
        return f"<VipMemory {self._file.path}>"

    def read(self) -> dict[ProxyKey, Vip]:
        """Return what is remembered, for a command that changes nothing.

        Raises:
            ConsulEbpfError: the file is damaged or cannot be read.
        """
        try:
            return _from_records(self._file.read() or [])
        except (ValueError, RecursionError) as error:
            raise ConsulEbpfError(f"{self._file.path}: {error}") from error

    def load(self) -> dict[ProxyKey, Vip]:
        """Return what is remembered; a damaged file is moved aside and logged."""
        records = self._file.load() or []
        try:
            return _from_records(records)
        except ValueError as error:
            self._file.reject(str(error))
            return {}

    def save(self, remembered: Mapping[ProxyKey, Vip]) -> None:
        """Write `Allocation.remembered`; a standing failure is logged once."""
        if remembered is self._saved:
            return
        there = self._file.save(
            [
                _VipRecord(*parts_of(key), str(vip.address), vip.port, vip.ipv6)
                for key, vip in remembered.items()
            ]
        )
        self._saved = remembered if there else None

    def read_ids(self) -> dict[str, str]:
        """Return the ids of proxies by their keys; changes nothing."""
        try:
            return self._ids.read() or {}
        except (ValueError, RecursionError):
            return {}

    def key_of(self, name: str) -> str:
        """Return the key of the proxy of this id; a name that is no id is a key."""
        ids = self.read_ids()
        return next((key for key, id_ in ids.items() if id_ == name), name)

    def save_ids(self, proxies: Iterable[Proxy]) -> None:
        """Write the ids that differ from their proxies' keys, for other commands.

        An id that is also another proxy's key or id is left out: it would name both.
        """
        proxies = tuple(proxies)
        ids = {each.key: each.id for each in proxies if each.id not in {"", each.key}}
        if not ids and not self._ids.path.exists():
            return
        names = Counter(name for each in proxies for name in {each.key, each.id})
        self._ids.save({key: id_ for key, id_ in ids.items() if names[id_] == 1})


def _from_records(records: list[_VipRecord]) -> dict[ProxyKey, Vip]:
    remembered = {
        key_from(r.id, r.namespace, r.partition): Vip(
            IPv4Address(r.vip), r.port, ipv6=r.ipv6
        )
        for r in records
    }
    if not len(records) == len(remembered) == len({r.vip for r in records}):
        raise ValueError("a proxy or a VIP is in it twice")
    return remembered
