"""The proxies of a round, which are found by their keys or by their ids."""

from collections.abc import Mapping

from consul_ebpf.controller.outcomes import Outcome, name_of


class KnownProxies:
    """The outcome of a round for each proxy.

    Args:
        outcomes: by proxy key.
    """

    def __init__(self, outcomes: Mapping[str, Outcome]) -> None:
        self.outcomes = outcomes
        named = ((name_of(key, each), key) for key, each in outcomes.items())
        self._keys = {name: key for name, key in named if name not in outcomes}

    def __repr__(self) -> str:
        return f"<KnownProxies {len(self.outcomes)}>"

    def find(self, name: str) -> Outcome | None:
        """Return the outcome of the proxy with this key or id; None: it is unknown."""
        return self.outcomes.get(self.key(name))

    def key(self, name: str) -> str:
        """Return the key of the proxy with this key or id; `name` if it is unknown."""
        return self._keys.get(name, name)

    def name(self, key: str) -> str:
        """Return what people call the proxy of this key."""
        outcome = self.outcomes.get(key)
        return name_of(key, outcome) if outcome else key

    def owner(self, name: str) -> str:
        """Return where a proxy was configured, served or not; empty: it is unknown."""
        outcome = self.find(name)
        return outcome.owner if outcome else ""
