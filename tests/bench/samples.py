"""Samples, measured in turns and put in short: no figure stands by itself.

What is compared is measured alternately, once a round each, so that what disturbs the
machine for a while disturbs all alike; and a ratio is taken round by round.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.bench.report import Figure, Row, Spread

Samples = Mapping[str, Sequence[float]]
"""By the name of each that is compared, one value a round."""


def alternate(
    cases: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Measure each case once a round, each round begun by another one."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(cases[name]())
    return found


def spread(samples: Sequence[float]) -> Spread:
    """Put samples in short; one sample is its own median, low and high."""
    ordered = sorted(samples)
    if len(ordered) < 2:
        return Spread(ordered[0], ordered[0], ordered[0], 1)
    cuts = statistics.quantiles(ordered, n=20, method="inclusive")
    return Spread(statistics.median(ordered), cuts[0], cuts[-1], len(ordered))


def figure(samples: Sequence[float], base: Sequence[float] | None = None) -> Figure:
    """Return a figure with its ratio to the base's, round by round.

    Where the two have not the same number of samples they are no rounds: then each
    sample is compared with the base's median.
    """
    if base is None:
        return Figure(spread(samples))
    if len(samples) == len(base):
        ratios = [ours / theirs for ours, theirs in zip(samples, base, strict=True)]
    else:
        ratios = [each / statistics.median(base) for each in samples]
    return Figure(spread(samples), spread(ratios))


def rows(
    columns: Mapping[str, Samples], base: str, notes: Mapping[str, str] | None = None
) -> tuple[Row, ...]:
    """Make a table's rows from samples by column and by name.

    Args:
        columns: for each column's heading the samples of each that is compared.
        base: which of them ratios are to.
        notes: what is to be said of a row.
    """
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return tuple(
        Row(
            name,
            {
                heading: figure(
                    samples[name], None if name == base else samples.get(base)
                )
                for heading, samples in columns.items()
                if name in samples
            },
            (notes or {}).get(name, ""),
        )
        for name in names
    )
