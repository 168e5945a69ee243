"""How often a host's tokens are looked at, whatever the number of its proxies."""

import asyncio

SECONDS = 1.0
"""From one look to the next, on the average."""

AT_ONCE = 3
"""Looks that may be made together when there was none for a while."""

CHECK = 60.0
"""Seconds between looks at a token, unless it is doubted; more where there are many."""


class Pace:
    """Lets one look through at a time: all keys of a host share one."""

    def __init__(self, seconds: float = SECONDS) -> None:
        """Take `seconds` from one to the next."""
        self._seconds = seconds
        self._next = float("-inf")

    def __repr__(self) -> str:
        return f"<Pace {self._seconds} s>"

    async def turn(self) -> None:
        """Wait for a turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - (AT_ONCE - 1) * self._seconds)
        begins, self._next = self._next, self._next + self._seconds
        await asyncio.sleep(max(0.0, begins - now))


def check_interval(keys: int) -> float:
    """Seconds between looks at each of so many tokens: half of the turns stay free."""
    return max(CHECK, 2 * SECONDS * keys)
