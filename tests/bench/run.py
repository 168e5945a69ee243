"""What a part of the bench is given: how long it may take, and what there is here."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of a part.

    Attributes:
        scratch: a directory for this part alone, removed at the end.
        quick: few rounds: to see that it runs, not to believe its figures.
        dataplane: consul-dataplane's binary, None where there is none.
    """

    scratch: Path
    quick: bool = False
    dataplane: Path | None = None

    def rounds(self, whole: int) -> int:
        """Return how many rounds to take where a whole run takes `whole`."""
        return max(3, whole // 10) if self.quick else whole

    def say(self, line: str) -> None:
        """Tell whoever waits what is being measured."""
        print(f"  {line}", file=sys.stderr, flush=True)


def find_dataplane() -> Path | None:
    """Return the binary that `$CONSUL_DATAPLANE_BIN` names.

    Raises:
        FileNotFoundError: it names one that is not there.
    """
    named = os.environ.get("CONSUL_DATAPLANE_BIN")
    if not named:
        return None
    if not os.access(named, os.X_OK):
        raise FileNotFoundError(f"CONSUL_DATAPLANE_BIN: no program at {named}")
    return Path(named)
