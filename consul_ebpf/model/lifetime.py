"""How long an ACL token lives: some seconds, for ever, or unknown."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds that a token lives after it was made.

    `FOREVER` is an answer: the token never expires. `UNKNOWN` means that nobody could
    be asked yet.
    """

    seconds: float
    """Infinite: it never expires. 0: unknown. Never NaN."""

    def __post_init__(self) -> None:
        """Refuse a negative length and NaN."""
        if not self.seconds >= 0:
            raise ValueError(f"a lifetime of {self.seconds} seconds")

    @property
    def known(self) -> bool:
        """Whether somebody told."""
        return self.seconds > 0

    @property
    def ends(self) -> bool:
        """Whether it is known and has an end."""
        return 0 < self.seconds < math.inf

    def __str__(self) -> str:
        """`60 s`, `for ever` or `unknown`."""
        if self.ends:
            return f"{self.seconds:.0f} s"
        return "for ever" if self.known else "unknown"


FOREVER = Lifetime(math.inf)
"""It never expires, as a token whose auth method has no MaxTokenTTL."""

UNKNOWN = Lifetime(0.0)
"""Nobody could be asked."""
