"""How often a host asks Consul about its tokens, however many proxies it has."""

import asyncio

TURN_SECONDS = 1.0
"""From one check to the next, on average."""

ARRIVAL_TURN_SECONDS = 0.2
"""The same for questions about new tokens: as often as an auth method makes some."""

AT_ONCE = 3
"""Checks that may follow each other at once when there was none for a while."""

CHECK_SECONDS = 60.0
"""Between two checks of one token, unless there is a reason to check it sooner. Longer
on a host with many tokens."""

SELDOM_SECONDS = 600.0
"""The same for a proxy's token whose lifetime is known. Once a minute the servers are
asked about the proxy's bootstrap, with that token: they tell if they refuse it."""


class Pace:
    """Lets one question through at a time; all keys of a host share it."""

    def __init__(self, turn: float = TURN_SECONDS) -> None:
        """Let one through every `turn` seconds, on average."""
        self._turn = turn
        self._next = float("-inf")

    def __repr__(self) -> str:
        return f"<Pace {self._turn} s>"

    async def wait_for_turn(self) -> None:
        """Return when the caller may ask."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - (AT_ONCE - 1) * self._turn)
        begins, self._next = self._next, self._next + self._turn
        await asyncio.sleep(max(0.0, begins - now))


def check_seconds(tokens: int) -> float:
    """Return the seconds between two checks of each of so many tokens.

    Half of all turns stay free, for tokens that are to be checked sooner.
    """
    return max(CHECK_SECONDS, 2 * TURN_SECONDS * tokens)
