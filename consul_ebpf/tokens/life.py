"""When a token is to be replaced. Pure."""

RENEW_AT = 0.6
"""Part of its life after which a token is replaced: time is left for a Consul that is
away, and for the proxies to move to the new one."""


def renew_in(now: float, made: float, lifetime: float | None, spread: float) -> float:
    """Return in how many seconds to log in again; infinite where nobody knows.

    Args:
        now: seconds by any clock.
        made: when the token was made, by the same.
        lifetime: its seconds from then; None: not known.
        spread: 0 to 1, each token's own: not all of a host are due at once.
    """
    if not lifetime:
        return float("inf")
    due = made + lifetime * (RENEW_AT - 0.1 * spread)
    return max(0.0, due - now)
