"""How long an ACL token lives: an answer has three kinds, and none is an empty one."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds that a token lives from when it was made; infinite, or not known.

    `FOREVER` is an answer: there is nothing to be found out any more. `UNKNOWN` is
    none: nobody could be asked, and somebody may be later.
    """

    seconds: float
    """Above 0; infinite: it never expires; NaN never: 0 is not known."""

    def __post_init__(self) -> None:
        """Take no length that none can have."""
        if not self.seconds >= 0:
            raise ValueError(f"a lifetime of {self.seconds} seconds")

    @property
    def known(self) -> bool:
        """Whether somebody said."""
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
"""Nobody says."""
