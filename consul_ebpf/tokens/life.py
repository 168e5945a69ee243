"""When a token is to be replaced, and what refusals teach of its life. Pure."""

from consul_ebpf.model.lifetime import UNKNOWN, Lifetime

RENEW_AT = 0.6
"""Part of its life after which a token is replaced: time is left for a Consul that is
away, and for the proxies to move to the new one."""

SHORTEST = 5.0
"""Seconds from one login to the next, whatever somebody says of a token's life."""

FLOOR = 60.0
"""Seconds: no lifetime shorter than this is learned from refusals. Who has such tokens
says so in `token_ttl`; what dies sooner was mostly deleted by somebody."""

ALIKE = 0.25
"""Part by which two tokens' lives may differ and still be of one length."""

SAMPLES = 2
"""Tokens in a row that must have lived alike."""

FIRST_TRIAL = 4
"""Tokens replaced by a learned lifetime before one is left to show that it still holds;
twice as many after each that does."""


def renew_in(now: float, made: float, lifetime: Lifetime, spread: float) -> float:
    """Return in how many seconds to log in again; infinite where nobody knows.

    Args:
        now: seconds by any clock.
        made: when the token was made, by the same.
        lifetime: from then.
        spread: 0 to 1, each token's own: not all of a host are due at once.
    """
    if not lifetime.ends:
        return float("inf")
    after = max(SHORTEST, lifetime.seconds * (RENEW_AT - 0.1 * spread))
    return max(0.0, made + after - now)


class Learned:
    """What is known of a lifetime that nobody tells, from the tokens that were refused.

    One refusal teaches nothing: a token may be deleted. Two in a row that lived alike
    teach a lifetime. Now and then a token is left to live beyond it, and if it does
    the lifetime is forgotten.
    """

    def __init__(self) -> None:
        self._lives: list[float] = []
        self._trust = FIRST_TRIAL
        self._until_trial = 0

    def __repr__(self) -> str:
        return f"<Learned {self._found}>"

    @property
    def _found(self) -> Lifetime:
        enough = len(self._lives) >= SAMPLES
        return Lifetime(min(self._lives)) if enough else UNKNOWN

    def lifetime(self) -> Lifetime:
        """Return the next token's; unknown also where it is left to show it."""
        return self._found if self._until_trial > 0 else UNKNOWN

    def replaced(self) -> None:
        """Hear that a token was replaced in time, as this taught."""
        self._until_trial -= 1

    def refused(self, good: float, age: float) -> None:
        """Hear that a token is refused.

        Args:
            good: its age when it was last accepted.
            age: its age now.
        """
        life = (good + age) / 2
        if life < FLOOR or good < age / 2:
            return  # deleted, or nobody looked for too long
        known = self._found.known
        if not _alike([*self._lives, life]):
            self._lives = []
        self._lives = [*self._lives, life][-SAMPLES:]
        if self._found.known:
            self._trust = 2 * self._trust if known else FIRST_TRIAL
            self._until_trial = self._trust

    def outlived(self, age: float) -> None:
        """Hear that a token of this age is accepted."""
        if self._lives and age > max(self._lives) * (1 + ALIKE):
            self._lives, self._until_trial = [], 0


def _alike(lives: list[float]) -> bool:
    return max(lives) <= min(lives) * (1 + ALIKE)
