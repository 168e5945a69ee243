"""Keeps what is wrong on this host on disk: `status` needs no controller to show it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.controller.outcomes import Outcome, Served, name_of

PROBLEMS_FILE = "problems.json"
"""The file's name in the bootstraps' directory."""


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of the newest round."""

    proxies: dict[str, list[str]] = field(default_factory=dict)
    """By proxy name: a line for each trouble, and for each value that was left out."""
    missing: list[str] = field(default_factory=list)
    """One line for each thing that is missing to serve all proxies."""


def problems_of(outcomes: Mapping[str, Outcome], missing: Iterable[str]) -> Problems:
    """Return the problems of a round; a proxy without any is left out."""
    lines: dict[str, list[str]] = {}
    for key, outcome in outcomes.items():
        if told := [one_line(each) for each in _told(outcome)]:
            lines.setdefault(name_of(key, outcome), []).extend(told)
    return Problems(
        dict(sorted(lines.items())),
        [one_line(each) for each in missing],
    )


def _told(outcome: Outcome) -> list[str]:
    notes = outcome.notes if isinstance(outcome, Served) else ()
    return [*map(str, outcome.troubles), *notes]


class ProblemFile:
    """`problems.json`: the newest controller's problems."""

    def __init__(self, directory: Path) -> None:
        """Keep the file in the bootstraps' directory."""
        self._file = JsonFile(directory / PROBLEMS_FILE, Problems)

    def __repr__(self) -> str:
        return f"<ProblemFile {self._file.path}>"

    def read(self) -> Problems:
        """Return the file's problems; none if it is missing or damaged."""
        try:
            return self._file.read() or Problems()
        except (ValueError, RecursionError):
            return Problems()

    def save(self, problems: Problems) -> None:
        """Write the problems if they changed; a standing failure is logged once."""
        self._file.save(problems)
