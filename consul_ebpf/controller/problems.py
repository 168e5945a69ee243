"""Keeps what is wrong on this host on disk: `status` needs no controller to show it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from consul_ebpf.base.lines import one_line
from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.controller.outcomes import Outcome, Served, name_of

PROBLEMS_FILE = "problems.json"
"""The file's name in the bootstraps' directory."""


@dataclass(frozen=True, slots=True)
class About:
    """What more is known of a line of a problem."""

    since: float = 0.0
    """Unix time since which a proxy has it; 0: not known."""
    means: str = ""
    """What follows from it, if the line does not say it."""
    do: str = ""
    """What to do about it; empty: the log says more."""


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of the newest round."""

    proxies: dict[str, list[str]] = field(default_factory=dict)
    """By proxy name: a line for each trouble, and for each value that was left out."""
    missing: list[str] = field(default_factory=list)
    """One line for each thing that is missing to serve all proxies."""
    about: dict[str, About] = field(default_factory=dict)
    """By the line, of both."""
    silent: dict[str, float] = field(default_factory=dict)
    """Services (`grpc`, `dns`) that no server answers on though it did before, and the
    Unix time since which."""


def problems_of(
    outcomes: Mapping[str, Outcome],
    missing: Iterable[str],
    before: Problems | None = None,
    at: float = 0.0,
    silent: Iterable[str] = (),
) -> Problems:
    """Return the problems of a round; a proxy without any is left out.

    Args:
        outcomes: by proxy key.
        missing: one line for each thing that is missing.
        before: what there was until now.
        at: Unix time.
        silent: the services that no server answers on.
    """
    lines: dict[str, list[str]] = {}
    for key, outcome in outcomes.items():
        if told := [one_line(each) for each in _told(outcome)]:
            lines.setdefault(name_of(key, outcome), []).extend(told)
    absent = [one_line(each) for each in missing]
    about = {each: About() for told in [*lines.values(), absent] for each in told}
    for outcome in outcomes.values():
        for each in outcome.troubles:
            about[one_line(str(each))] = About(0.0, each.means, each.do)
    known = before.about if before else {}
    silent_before = before.silent if before else {}
    since = {line: known[line].since if line in known else at for line in about}
    return Problems(
        dict(sorted(lines.items())),
        absent,
        {line: replace(each, since=since[line]) for line, each in about.items()},
        {service: silent_before.get(service, at) for service in sorted(silent)},
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
