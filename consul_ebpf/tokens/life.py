"""When to replace a token, and how long it lives where nobody says so. Pure."""

from consul_ebpf.model.lifetime import UNKNOWN, Lifetime

RENEW_AT = 0.6
"""Part of its life after which a token is replaced. The rest is for a Consul that is
away, and for the proxies to move to the new token."""

SHORTEST_SECONDS = 5.0
"""From one login to the next, however short a token's life is said to be."""

SHORTEST_LEARNED_SECONDS = 60.0
"""No shorter lifetime is learned from refusals. Tokens that live shorter are configured
in `token_ttl`; one that was refused sooner was most likely deleted by somebody."""

ALIKE = 0.25
"""Two lives are alike if they differ by at most this part."""

SAMPLES = 2
"""Tokens in a row whose lives must have been alike."""

FIRST_TRIAL = 4
"""Tokens replaced by a learned lifetime before one is left in use, to see whether the
lifetime still holds. If it does, twice as many are replaced before the next trial."""


def renew_in(now: float, made: float, lifetime: Lifetime, spread: float) -> float:
    """Return in how many seconds to log in again; infinite if no end is known.

    Args:
        now: seconds by any clock.
        made: when the token was made, by the same clock.
        lifetime: from then on.
        spread: 0 to 1, different for each token, so that not all are due at once.
    """
    if not lifetime.ends:
        return float("inf")
    after = max(SHORTEST_SECONDS, lifetime.seconds * (RENEW_AT - 0.1 * spread))
    return max(0.0, made + after - now)


class LearnedLife:
    """The lifetime of one login's tokens, learned from those that were refused.

    One refusal teaches nothing, for a token may be deleted. Two tokens in a row that
    lived alike do. Now and then a token is left in use beyond the learned lifetime; if
    it is still accepted, the lifetime is forgotten.
    """

    def __init__(self) -> None:
        self._lives: list[float] = []
        self._trust = FIRST_TRIAL
        self._until_trial = 0

    def __repr__(self) -> str:
        return f"<LearnedLife {self._learned}>"

    @property
    def _learned(self) -> Lifetime:
        enough = len(self._lives) >= SAMPLES
        return Lifetime(min(self._lives)) if enough else UNKNOWN

    @property
    def lifetime(self) -> Lifetime:
        """The next token's; also unknown when that token is the one on trial."""
        return self._learned if self._until_trial > 0 else UNKNOWN

    def note_replacement(self) -> None:
        """Note that a token was replaced before it was refused."""
        self._until_trial -= 1

    def note_refusal(self, good: float, age: float) -> None:
        """Note that a token is refused.

        Args:
            good: its age when it was last accepted, in seconds.
            age: its age now.
        """
        life = (good + age) / 2
        if life < SHORTEST_LEARNED_SECONDS or good < age / 2:
            return  # it was deleted, or was not checked for too long
        known = self._learned.known
        if not _alike([*self._lives, life]):
            self._lives = []
        self._lives = [*self._lives, life][-SAMPLES:]
        if self._learned.known:
            self._trust = 2 * self._trust if known else FIRST_TRIAL
            self._until_trial = self._trust

    def note_acceptance(self, age: float) -> None:
        """Note that a token of this age is accepted."""
        if self._lives and age > max(self._lives) * (1 + ALIKE):
            self._lives, self._until_trial = [], 0


def _alike(lives: list[float]) -> bool:
    return max(lives) <= min(lives) * (1 + ALIKE)
