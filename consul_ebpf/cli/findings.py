"""The findings of `doctor`: one line for each check."""

from collections.abc import Sequence
from dataclasses import dataclass

from consul_ebpf.model.errors import ConsulEbpfError


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    name: str
    """What was checked."""
    text: str
    """The result, and what to do if it is not good."""
    error: ConsulEbpfError | None = None
    """Why a controller cannot run; None: it can."""
    warn: bool = False
    """Whether something is wrong that does not keep a controller from running."""

    def __str__(self) -> str:
        mark = "FAIL" if self.error else "warn" if self.warn else "ok  "
        return f"{mark} {self.name}: {self.text}"

    @classmethod
    def failed(cls, name: str, text: str) -> "Finding":
        """Return one that makes `doctor` end with exit code 1."""
        return cls(name, text, ConsulEbpfError(text))

    @property
    def rank(self) -> int:
        """0: no controller can run so; 1: it is wrong all the same; 2: all is well."""
        return 0 if self.error else 1 if self.warn else 2


def told(findings: Sequence[Finding]) -> list[str]:
    """Return the lines of `doctor`: the verdict, what is wrong, what is well. Pure."""
    ranks = [each.rank for each in findings]
    counts = f"{len(findings)} checks, {ranks.count(0)} failed, {ranks.count(1)} warn"
    if 0 in ranks:
        verdict = f"NOT READY: {counts}; mend what failed, each line says how"
    elif 1 in ranks:
        verdict = f"READY: {counts}; a controller can run here"
    else:
        verdict = f"READY: {len(findings)} checks, all well"
    by_rank = sorted(findings, key=lambda each: each.rank)
    return [verdict, *map(str, by_rank)]
