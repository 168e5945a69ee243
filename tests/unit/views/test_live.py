"""The page's routes, over real sockets, of a host that is made up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from consul_ebpf.model.errors import KernelError
from consul_ebpf.model.values import KernelState
from consul_ebpf.views.bodies import Bodies
from consul_ebpf.views.live import FOLLOWERS
from tests.unit.views.test_endpoint import SERVED, WAITS, World, serving


@asynccontextmanager
async def followed(world: World) -> AsyncIterator[aiohttp.ClientResponse]:
    connector = aiohttp.UnixConnector(str(world.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/live") as answer,
    ):
        yield answer


async def picture(answer: aiohttp.ClientResponse) -> str:
    """Return the next picture."""
    async with asyncio.timeout(10):
        line = await answer.content.readline()
        assert await answer.content.readline() == b"\n"
    assert line.startswith(b"data: ")
    return str(json.loads(line.removeprefix(b"data: ")))


async def test_the_page_is_whole_and_locked_up(tmp_path: Path) -> None:
    """HTML with its policy, and never from a cache."""
    async with serving(tmp_path) as world:
        world.converged(SERVED)
        connector = aiohttp.UnixConnector(str(world.socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/") as answer,
        ):
            text = await answer.text()
            assert answer.content_type == "text/html"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "10.0.0.1:8502" in text
        assert text.endswith("</html>\n")
        status, _ = await world.ask("GET", "/", Host="evil.example")
        assert status == 403


async def test_followers_get_each_new_picture_and_share_the_looks(
    tmp_path: Path,
) -> None:
    """At once when they come, then when something has changed."""
    loop = asyncio.get_running_loop()
    async with serving(tmp_path) as world:
        world.converged(SERVED)
        begun = loop.time()
        async with followed(world) as one, followed(world) as other:
            assert one.content_type == "text/event-stream"
            assert "Never connected yet" in await picture(one)
            assert "Never connected yet" in await picture(other)
            world.connects, world.cookies = 1, frozenset({7})
            for each in (one, other):
                async with asyncio.timeout(20):
                    while "Never connected yet" in await picture(each):
                        pass
            await asyncio.sleep(1.5)
        assert world.looks <= 3 + loop.time() - begun  # one a second, for both
        await asyncio.sleep(1.5)  # until it is seen that they have gone
        before = world.looks
        await asyncio.sleep(1.5)
        assert world.looks == before


class Broken(World):
    """A host whose tables cannot be read."""

    async def read(self) -> KernelState:
        raise KernelError("the tables are gone")


async def test_a_page_that_cannot_be_drawn_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried again; whoever follows keeps the picture they have."""
    async with serving(tmp_path, world=Broken) as world, followed(world):
        await asyncio.sleep(2.5)
    said = [each for each in caplog.messages if "the page is not drawn" in each]
    assert said == ["the page is not drawn anew: the tables are gone"]


async def test_so_many_can_follow_and_no_more(tmp_path: Path) -> None:
    """One that leaves makes room for another."""
    async with serving(tmp_path) as world:
        world.converged(SERVED)
        open_ = [followed(world) for _ in range(FOLLOWERS.total)]
        answers = [await each.__aenter__() for each in open_]
        assert {200} == {each.status for each in answers}
        status, answer = await world.ask("GET", "/live")
        assert (503, "too many clients") == (status, answer["error"][:16])
        for each in open_:
            await each.__aexit__(None, None, None)
        async with asyncio.timeout(5):
            while True:
                async with followed(world) as again:
                    if again.status == 200:
                        break
                await asyncio.sleep(0.05)
        assert "main" in await world_page(world)


async def test_users_who_may_only_read_leave_room_for_others(tmp_path: Path) -> None:
    """However often one of them opens the page, root can follow it."""
    async with serving(tmp_path, frozenset()) as world, AsyncExitStack() as stack:
        world.converged(SERVED)
        for _ in range(FOLLOWERS.each):
            answer = await stack.enter_async_context(followed(world))
            assert answer.status == 200
        assert (await world.ask("GET", "/live"))[0] == 503
        assert FOLLOWERS.each < FOLLOWERS.others < FOLLOWERS.total


async def test_all_who_ask_at_about_the_same_time_share_one_page(
    tmp_path: Path,
) -> None:
    """It is drawn once for each look at the kernel, however many ask."""
    async with serving(tmp_path) as world:
        world.converged(SERVED)
        bodies = Bodies(world.host)
        one, other = await asyncio.gather(bodies.picture(), bodies.picture())
        assert one is other is await bodies.picture()
        world.converged(WAITS)
        assert one is not await bodies.picture()


async def world_page(world: World) -> str:
    status, text = await world.ask("GET", "/")
    assert status == 200
    return str(text)
