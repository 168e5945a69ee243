"""Takes snapshots of this host, from the kernel's pins and the controller's files.

No controller need run: nothing here asks one.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from consul_ebpf.base.event_counts import EventCounts
from consul_ebpf.base.reading import FileError, Fingerprint, fingerprint
from consul_ebpf.controller.problems import PROBLEMS_FILE, ProblemFile
from consul_ebpf.kernel import host
from consul_ebpf.kernel.pins import Pins
from consul_ebpf.kernel.program import CONNECT, DNS, Program
from consul_ebpf.kernel.sockets import established_cookies
from consul_ebpf.kernel.tables import close_tables, read_tables
from consul_ebpf.model.errors import ConsulEbpfError, KernelError, NotRunningError
from consul_ebpf.model.values import (
    DNS_NAME,
    GRPC,
    VOLUMES_FILE,
    KernelState,
    PodVolume,
    VipCounters,
    host_port,
)
from consul_ebpf.proxies.memory import IDS_FILE, VIPS_FILE, VipMemory
from consul_ebpf.proxies.sources.admins import ADMINS_FILE, AdminMemory
from consul_ebpf.proxies.vips import parts_of
from consul_ebpf.views.snapshot import Inside, Remembered, ServiceAccount, Snapshot
from consul_ebpf.views.timeline import TIMELINE_FILE, TimelineFile

logger = logging.getLogger(__name__)

PROGRAMS: Mapping[str, Program] = {GRPC.name: CONNECT, DNS_NAME: DNS}
"""The program that leads to each service, by the service's name."""

NOTHING = Inside()

ReadVolumes = Callable[[], tuple[PodVolume, ...]]
"""Reads the file of the pods' volumes; none if it is missing or damaged. Blocking."""

Established = Callable[[Iterable[VipCounters]], frozenset[int]]
"""Finds out which of the sockets noted in the VIPs' rows are established. Blocking."""


class Gatherer:
    """Takes snapshots. Blocking.

    Args:
        bpffs: where the BPF file system is mounted.
        directory: the bootstraps'; the controller's files are in it.
        established: finds established sockets; None: in all network namespaces that
            this process may enter.
        volumes: reads the pods' volumes; None: this is no node of Kubernetes.
    """

    def __init__(
        self,
        bpffs: Path,
        directory: Path,
        established: Established | None = None,
        volumes: ReadVolumes | None = None,
    ) -> None:
        self._pins = {
            service: Pins(bpffs, program) for service, program in PROGRAMS.items()
        }
        self._memory = Memory(directory, volumes)
        self._counts = EventCounts(directory)
        self._established = established or (lambda _: established_cookies())
        self._cgroup: Path | None = None
        """The one that was found last."""

    def __repr__(self) -> str:
        return f"<Gatherer {self._pins[GRPC.name].root}>"

    def take(self) -> Snapshot:
        """Read the pinned tables, and take a snapshot.

        Raises:
            NotRunningError: nothing is pinned.
            PrivilegeError: the pins may not be read.
            KernelError: they cannot be read.
        """
        tables = {}
        for service, pins in self._pins.items():
            try:
                tables[service] = _read(pins)
            except NotRunningError:
                if service == GRPC.name:
                    raise
        return self.complete(tables, self._counts.read())

    def complete(
        self,
        tables: Mapping[str, KernelState],
        events: Mapping[str, int],
        inside: Inside = NOTHING,
    ) -> Snapshot:
        """Take a snapshot with tables that were just read.

        Args:
            tables: by the service's name.
            events: what the controller met, by the events' names.
            inside: what only the running controller knows.

        Raises:
            KernelError: links or sockets cannot be looked at.
        """
        rows = [row for each in tables.values() for row in each.vips.values()]
        return Snapshot(
            at=time.time(),
            services={
                service: self._account(self._pins[service], each)
                for service, each in tables.items()
            },
            established=self._established(rows),
            remembered=self._memory.read(),
            pid=self._pins[GRPC.name].holder(),
            events=dict(events),
            inside=inside,
            monotonic=time.monotonic(),
        )

    def _account(self, pins: Pins, tables: KernelState) -> ServiceAccount:
        links = pins.links()
        cgroups = {link.cgroup_id for link in links.values()}
        return ServiceAccount(
            tables,
            hooks={hook: link.program_id for hook, link in links.items()},
            cgroup=self._path_of(max(cgroups, default=0)),
            attached=len(links) == len(pins.program.hooks) and 0 not in cgroups,
        )

    def _path_of(self, cgroup: int) -> str:
        """Return a cgroup's path; searching for one may walk through all of them."""
        if self._cgroup is None or _inode(self._cgroup) != cgroup:
            self._cgroup = host.cgroup_path(cgroup)
        return str(self._cgroup or "")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _read(pins: Pins) -> KernelState:
    tables = pins.open_tables()
    try:
        return read_tables(tables)
    except OSError as error:
        raise KernelError(f"the pinned tables cannot be read: {error}") from error
    finally:
        close_tables(tables)


class Memory:
    """The files the controller keeps beside the bootstraps. Blocking."""

    def __init__(self, directory: Path, volumes: ReadVolumes | None = None) -> None:
        """Name them. A file that is missing or damaged is read as an empty one."""
        self._directory = directory
        self._volumes = volumes
        self._seen: object = None
        self._value = Remembered()

    def __repr__(self) -> str:
        return f"<Memory {self._directory}>"

    def read(self) -> Remembered:
        """Return what is in them. They are read again when one of them changes."""
        files = (
            *(VIPS_FILE, IDS_FILE, ADMINS_FILE),
            *(PROBLEMS_FILE, VOLUMES_FILE, TIMELINE_FILE),
        )
        seen = [_fingerprint(self._directory / each) for each in files]
        if seen != self._seen:
            self._value = self._decode()
            self._seen = seen
        return self._value

    def _decode(self) -> Remembered:
        memory = VipMemory(self._directory)
        try:
            vips = memory.read()
        except ConsulEbpfError as error:
            logger.warning("%s; proxies are shown without their ids", error)
            vips = {}
        ids = memory.read_ids()
        admins = AdminMemory(self._directory, writes=False).load()
        return Remembered(
            names={
                vip: (ids.get(key, key), vip)
                for (key, *_), vip in ((parts_of(each), vips[each]) for each in vips)
            },
            admins={
                ids.get(key, key): host_port(*admin.address)
                for key, admin in admins.items()
            },
            problems=ProblemFile(self._directory).read(),
            volumes=self._volumes() if self._volumes else None,
            ids=ids,
            timeline=TimelineFile(self._directory).read(),
        )


def _fingerprint(path: Path) -> Fingerprint:
    try:
        return fingerprint(path)
    except FileError:
        return ()
