"""The system calls of processes, counted by strace, which sees every one of them."""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

from tests.lab.debian import unpacked
from tests.lab.go_build import PartMissingError
from tests.lab.held import Held
from tests.lab.processes import Child, LabError, wait_until
from tests.lab.scratch import scratch_directory

CALL = re.compile(r"^\d+ +(\w+)\((?:(BPF_\w+),)?(?:.*?[ {]count=(\d+))?", re.MULTILINE)
"""One that begins; it may be in two lines, and then the second begins by `<...`."""
MAP_WRITES = tuple(
    f"BPF_MAP_{change}_{rows}"
    for change in ("UPDATE", "DELETE", "LOOKUP_AND_DELETE")
    for rows in ("ELEM", "BATCH")
)


class Calls(Held):
    """Counts what processes, all their threads and their new children call.

    By name; those of bpf(2) by command, such as BPF_MAP_UPDATE_ELEM. One that changes
    many rows at once counts for each of them.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        """Prepare.

        Args:
            pids: children that are there already are to be named, too.
        """
        self._pids = tuple(pids)

    def hold(self, stack: ExitStack) -> None:
        """Begin.

        Raises:
            PartMissingError: there is no strace, or this host does not allow it.
        """
        directory = stack.enter_context(scratch_directory())
        self._file = directory / "calls"
        argv = [*unpacked().program("strace"), "-f", "-o", str(self._file)]
        for pid in self._pids:
            argv += ["-p", str(pid)]
        child = Child("strace", argv, directory)
        stack.callback(child.terminate)  # it lets them go

        def attached() -> bool:
            child.must_run()
            said = child.stderr.read_text()
            return all(f"Process {pid} attached" in said for pid in self._pids)

        try:
            wait_until(attached, "strace attached")
        except LabError as error:
            raise PartMissingError(f"strace counts nothing here: {error}") from None
        self._child = child
        self._read = 0

    def take(self) -> Counter[str]:
        """Return what was called since this was asked last, or since the beginning."""
        self._child.must_run()
        with self._file.open("rb") as file:
            file.seek(self._read)
            found = file.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._read += len(whole)
        return counted_in(whole.decode(errors="replace"))


def counted_in(text: str) -> Counter[str]:
    """Count the calls in what `strace -f -o` wrote."""
    counted: Counter[str] = Counter()
    for found in CALL.finditer(text):
        name = found[2] or found[1]
        counted[name] += int(found[3] or 1) if name in MAP_WRITES else 1
    return counted


def map_writes(counted: Counter[str]) -> int:
    """Return how many rows of the kernel's tables were written or removed."""
    return sum(counted[name] for name in MAP_WRITES)
