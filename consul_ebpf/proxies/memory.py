"""Who has which VIP, and who is who, over restarts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.model.errors import ConsulEbpfError
from consul_ebpf.model.values import Proxy, Vip
from consul_ebpf.proxies.vips import ProxyKey

VIPS_FILE = "vips.json"
"""In the bootstraps' directory."""
IDS_FILE = "ids.json"
"""There, too: `vips.json` has no room for it that an older version would accept."""


class _VipRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    namespace: str
    partition: str
    vip: str
    port: int
    ipv6: bool


class VipMemory:
    """`vips.json`: the VIPs in use and those released, longest ago first.

    In `ids.json`, where there are any: the ids of proxies that have another key.
    """

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / VIPS_FILE, list[_VipRecord])
        self._ids = JsonFile(directory / IDS_FILE, dict[str, str])
        self._saved: Mapping[ProxyKey, Vip] | None = None

    def __repr__(self) -> str:
        return f"<VipMemory {self._file.path}>"

    def read(self) -> dict[ProxyKey, Vip]:
        """Return what is remembered, touching nothing: for those who only look.

        Raises:
            ConsulEbpfError: the file is damaged or cannot be read.
        """
        try:
            return _from_records(self._file.read() or [])
        except (ValueError, RecursionError) as error:
            raise ConsulEbpfError(f"{self._file.path}: {error}") from error

    def load(self) -> dict[ProxyKey, Vip]:
        """Return what is remembered; a bad file is moved aside, with a log line."""
        records = self._file.load() or []
        try:
            return _from_records(records)
        except ValueError as error:
            self._file.reject(str(error))
            return {}

    def save(self, remembered: Mapping[ProxyKey, Vip]) -> None:
        """Write what `Allocation.remembered` says; a failure is logged, once."""
        if remembered is self._saved:
            return
        there = self._file.save(
            [
                _VipRecord(*key, str(vip.address), vip.port, vip.ipv6)
                for key, vip in remembered.items()
            ]
        )
        self._saved = remembered if there else None

    def read_ids(self) -> dict[str, str]:
        """Return the ids of proxies by their keys, touching nothing."""
        try:
            return self._ids.read() or {}
        except (ValueError, RecursionError):
            return {}

    def save_ids(self, proxies: Iterable[Proxy]) -> None:
        """Keep the ids that are not their proxies' keys, for those who only look.

        One that is another's key or id, too, is left out: it would name two.
        """
        proxies = tuple(proxies)
        ids = {each.key: each.id for each in proxies if each.id not in {"", each.key}}
        if not ids and not self._ids.path.exists():
            return
        names = Counter(name for each in proxies for name in {each.key, each.id})
        self._ids.save({key: id_ for key, id_ in ids.items() if names[id_] == 1})


def _from_records(records: list[_VipRecord]) -> dict[ProxyKey, Vip]:
    remembered = {
        (r.id, r.namespace, r.partition): Vip(IPv4Address(r.vip), r.port, ipv6=r.ipv6)
        for r in records
    }
    if not len(records) == len(remembered) == len({r.vip for r in records}):
        raise ValueError("a proxy or a VIP is in it twice")
    return remembered
