"""Writes into each volume what its Envoy still waits for: one line, for people.

The init container prints the file `waiting` while there is no bootstrap. Nothing in it
is a secret: it is what the controller's log and `status` say, too.
"""

import logging
from functools import partial
from pathlib import Path

from consul_ebpf.base.boundary import boundary
from consul_ebpf.base.files import write_atomically
from consul_ebpf.base.latest import Changes, Latest
from consul_ebpf.base.lines import one_line
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.threads import finish
from consul_ebpf.controller.outcomes import Converged, Refused, Served
from consul_ebpf.kubernetes.pods.kept import Volumes
from consul_ebpf.kubernetes.pods.mounts import Mounts
from consul_ebpf.model.errors import ConsulEbpfError

logger = logging.getLogger(__name__)

WAITING = "waiting"
"""The file's name."""

MODE = 0o644

SHOWN = 1000
"""Most characters of a line."""


class Waiting:
    """Keeps the file `waiting` of each volume; nothing is missing: there is none.

    Args:
        volumes: the volumes, by id.
        outcome: what became of their proxies.
        mounts: says whether a volume is there.
    """

    def __init__(
        self, volumes: Latest[Volumes], outcome: Latest[Converged], mounts: Mounts
    ) -> None:
        self._volumes = volumes
        self._outcome = outcome
        self._mounts = mounts
        self._written: dict[str, str] = {}
        """The line in each volume, by its target."""
        self._failures = Reasons(logger, "files_failed")

    def __repr__(self) -> str:
        return f"<Waiting in {len(self._written)} volumes>"

    async def run(self) -> None:
        """Write, until cancelled."""
        changes = Changes(self._volumes, self._outcome)
        while True:
            await changes.wait()
            volumes, outcome = self._volumes.value, self._outcome.value
            if volumes is not None and outcome is not None:
                await finish(partial(self._write_all, volumes, outcome))

    def _write_all(self, volumes: Volumes, outcome: Converged) -> None:
        lines = {}
        for each in volumes.values():
            line = line_of(outcome, each.volume.key)
            if line is not None:
                lines[each.volume.target] = line
        targets = {each.volume.target for each in volumes.values()}
        for gone in self._written.keys() - targets:
            del self._written[gone]
        failures = []
        for target, line in lines.items():
            if self._written.get(target) == line or not self._mounts.is_mounted(target):
                continue  # what is not there waits for kubelet, or ends
            try:
                self._write(target, line)
            except ConsulEbpfError as error:
                failures.append(str(error))
            else:
                self._written[target] = line
        self._failures.report(failures)

    def _write(self, target: str, line: str) -> None:
        path = Path(target) / WAITING
        with boundary(ConsulEbpfError, f"{one_line(path)} cannot be written"):
            if not line:
                path.unlink(missing_ok=True)
                return
            data = f"{line}\n".encode()
            # The controller before this one may have written it.
            if not path.exists() or path.read_bytes() != data:
                write_atomically(path, data, mode=MODE)


def line_of(outcome: Converged, key: str) -> str | None:
    """Return what a proxy waits for; empty: nothing; None: that is not known yet."""
    found = outcome.outcomes.get(key)
    if isinstance(found, Served):
        return one_line(found.waiting.cause, SHOWN) if found.waiting else ""
    return one_line(found.why.cause, SHOWN) if isinstance(found, Refused) else None
