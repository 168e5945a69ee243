"""One login, retried until it succeeds; and what all logins of a host share."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.seams import Acl
from consul_ebpf.model.token_keys import named
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.logins import Logins
from consul_ebpf.tokens.pace import Pace
from consul_ebpf.tokens.sessions import Sessions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the logins of a host share."""

    acl: Acl
    sessions: Sessions
    logins: Logins
    checks: Pace
    """Of questions about tokens that are in use."""
    arrivals: Pace
    """Of questions about new tokens, which no others keep waiting."""
    check_seconds: Callable[[], float]
    """Returns the seconds between two checks of one token."""
    clock: Callable[[], float]
    """Returns Unix time."""


async def log_in(
    key: str, how: Login, shared: Shared, answer: Callable[[Missing], None]
) -> str:
    """Log in; return the new token's secret.

    Retries until it succeeds. After each failure `answer` is called with the reason.
    """
    reasons = Reasons(logger, "login_failed")
    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError),
            wait=wait_random_exponential(multiplier=0.5, min=0.5, max=15),
            sleep=asyncio.sleep,
        ):
            with attempt:
                try:
                    return await shared.logins.log_in(key, how)
                except ConsulError as error:
                    why = f"login at auth method {how.auth_method}: {error}"
                    reasons.report((f"{named(key)}: {why}; trying again",))
                    shared.logins.failing.add(key)
                    answer(Missing(why))
                    raise
        raise AssertionError  # it is retried for ever
    finally:
        shared.logins.failing.discard(key)
