"""One login, for as long as it takes."""

import asyncio
import logging
from collections.abc import Callable

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from consul_ebpf.base.reasons import Reasons
from consul_ebpf.base.timing import timed
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.token_keys import named
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.memory import Session
from consul_ebpf.tokens.shared import Shared

logger = logging.getLogger(__name__)

LAST_WORDS = 3.0
"""Seconds that a login under way is given where nobody wants it any more: the token
that it may make is to be logged out."""


async def log_in(
    key: str, how: Login, shared: Shared, answer: Callable[[Missing], None]
) -> str:
    """Return a new token's secret; meanwhile `answer` is given why there is none."""
    reasons = Reasons(logger, "login_failed")
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(ConsulError),
        wait=wait_random_exponential(multiplier=0.5, min=0.5, max=15),
        sleep=asyncio.sleep,
    ):
        with attempt:
            try:
                with timed("login"):
                    return await _once(key, how, shared)
            except ConsulError as error:
                why = f"login at auth method {how.auth_method}: {error}"
                reasons.report((f"{named(key)}: {why}; trying again",))
                answer(Missing(why))
                raise
    raise AssertionError  # it is tried for ever


async def _once(key: str, how: Login, shared: Shared) -> str:
    """Log in once; cancelled meanwhile, have what it makes logged out."""
    login = asyncio.ensure_future(shared.acl.login(how))
    try:
        return await asyncio.shield(login)
    except asyncio.CancelledError:
        await asyncio.wait([login], timeout=LAST_WORDS)
        if login.done() and not login.cancelled() and login.exception() is None:
            await shared.sessions.begin(
                key, Session(how, login.result(), shared.clock())
            )
            await shared.sessions.give_up(key)
        login.cancel()
        raise
