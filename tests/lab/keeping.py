"""A keeper of tokens at work, in virtual time, and who wants some."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from consul_ebpf.model.values import Credentials, Login, Proxy
from consul_ebpf.testing import FakeAcl
from tests.lab.tokens import Tokens

LOGIN = Login("jwt", bearer_token="the-bearer")
OWN = Credentials(login=Login("jwt", bearer_token_file="/run/web.jwt"))
WEB = Proxy("web", "host1", credentials=OWN)
PLAIN = Proxy("plain", "host1")


def clock() -> float:
    """Unix time that goes with the loop's."""
    return 1e9 + asyncio.get_running_loop().time()


@asynccontextmanager
async def keeping(
    acl: FakeAcl, directory: Path, default: Credentials | None = None
) -> AsyncIterator[Tokens]:
    host = Tokens(acl, directory, default, clock)
    async with host.kept():
        yield host
