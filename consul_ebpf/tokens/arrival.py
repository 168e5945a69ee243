"""Wait until the servers know a new token; until then the old one is used."""

import asyncio
from collections.abc import Callable

from consul_ebpf.base.retry import growing
from consul_ebpf.model.seams import Acl
from consul_ebpf.tokens.pace import Pace

FIRST_PAUSE_SECONDS = 0.1
"""From the login to the first question; twice as long before each further one."""
LONGEST_PAUSE_SECONDS = 15.0

SETTLE_SECONDS = 5.0
"""After which a token that only some servers know is used, if the old one is no longer
good. Also when a token that is not known everywhere yet is logged."""

LONG_SETTLE_SECONDS = 60.0
"""After which a token that only some servers know is used while the old one is good."""

PATIENCE_SECONDS = 300.0
"""After which a token that no server knows is given up; twice as long for each further
one. A secondary datacenter gets its tokens by replication, which takes a while."""
LONGEST_PATIENCE_SECONDS = 3600.0


async def arrives(
    acl: Acl,
    secret: str,
    pace: Pace,
    *,
    old_good_until: float,
    given_up: int,
    say: Callable[[str], None],
) -> bool:
    """Wait until a new token can be used. False: no server came to know it.

    Args:
        acl: asks the servers.
        secret: the token.
        pace: limits how often they are asked.
        old_good_until: the loop's time until which the old token is expected to work.
        given_up: how many tokens in a row were given up before this one.
        say: called once with the reason if it takes longer than `SETTLE_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    patience = growing(given_up, PATIENCE_SECONDS, LONGEST_PATIENCE_SECONDS)
    begun, asked, said = loop.time(), 0, False
    while True:
        await asyncio.sleep(growing(asked, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        asked += 1
        if asked > 2:
            await pace.wait_for_turn()
        if await acl.accepted(secret):
            return True
        unknown = await acl.refused(secret)
        now = loop.time()
        waited = now - begun
        if unknown and waited >= patience:
            return False
        settle = LONG_SETTLE_SECONDS if now < old_good_until else SETTLE_SECONDS
        if not unknown and waited >= settle:
            return True
        if waited >= SETTLE_SECONDS and not said:
            said = True
            who = "no server knows" if unknown else "not every server knows"
            say(f"{who} its new ACL token yet; waiting for it")
