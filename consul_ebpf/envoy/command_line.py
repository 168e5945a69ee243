"""Envoy's command line: options of ours beside those that somebody else gives. Pure."""

from collections.abc import Iterable, Mapping

SHORT = {"-l": "--log-level", "-c": "--config-path"}


def named(words: Iterable[str]) -> set[str]:
    """Return the long names of the options among the words."""
    return {
        word.partition("=")[0] if word.startswith("--") else SHORT.get(word[:2], word)
        for word in words
    }


def without(ours: Mapping[str, str], given: Iterable[str]) -> list[str]:
    """Return our options as words, without those that are given: Envoy refuses doubles.

    Args:
        ours: by option its value; empty: it takes none.
        given: the words of the other options.
    """
    names = named(given)
    return [
        word
        for name, value in ours.items()
        if name not in names
        for word in (name, value)
        if word
    ]
