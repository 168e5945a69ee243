"""What the HTTP client makes of answers that are wrong. A real server, on loopback."""

import asyncio
import gzip
import time
import traceback
from contextlib import aclosing

import pytest
from aiohttp import web

from consul_ebpf.client.answers import MAX_BODY
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.servers.sources.catalog import CatalogSource
from tests.lab.http_server import answer, ask, asked, refused, server


async def test_fault_54_an_endless_answer_is_cut_off() -> None:
    """At the cap, long before the deadline."""
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    async with asyncio.timeout(8), server(handler) as url:
        with pytest.raises(ConsulError, match="larger than 8 MiB"):
            await ask(url)
    assert sent < 8 * MAX_BODY


async def test_fault_54_a_packed_answer_is_capped_unpacked() -> None:
    """A small gzip file can hold a gigabyte."""
    packed = gzip.compress(b" " * (4 * MAX_BODY))
    assert len(packed) < MAX_BODY / 100
    error = await refused(lambda: answer(packed, Content_Encoding="gzip"))
    assert "larger than 8 MiB" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'[{"Node": "a"',
        b"<html>hello</html>",
        b"\xff\xfe\xff",
        b"[" * 100_000,
        b"[] []",
        b"9" * 5000,
    ],
    ids=["empty", "truncated", "html", "not-utf8", "deep", "trailing", "number"],
)
async def test_fault_53_what_is_not_json_is_an_error(body: bytes) -> None:
    """And the error does not repeat the body."""
    error = await refused(lambda: answer(body))
    assert "is not the JSON it should be" in str(error)
    assert len("".join(traceback.format_exception(error))) < 20_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"0"] * 4_000_000) + b"]",
        b"[" + b",".join([b"0"] * 400_000) + b"]",
        b"[" * 4_000_000,
        b'{"a":' * 1200 + b"0" + b"}" * 1200,
        b'["' + b"x" * (8 * 1024 * 1024 - 10) + b'"]',
    ],
    ids=["8 MB of zeros", "800 KB of zeros", "deep", "1,200 deep", "one text"],
)
async def test_fault_113_no_answer_blocks_the_loop(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its size and shape.

    Measured by the processor's time between two turns of the loop: on a machine that
    is busy with other things the time on the wall says nothing.
    """
    longest = 0.0

    async def ticks() -> None:
        nonlocal longest
        while True:
            before = time.process_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.process_time() - before)

    async def handler(_: web.Request) -> web.StreamResponse:
        return answer(body, X_Consul_Index="1")

    async with server(handler) as url:
        ticking = asyncio.create_task(ticks())
        watch = CatalogSource([url], wait=1).watch()
        async with aclosing(watch):
            answered = asyncio.ensure_future(anext(watch))
            while not (answered.done() or caplog.records):  # it was taken, or refused
                await asyncio.sleep(0.01)
            answered.cancel()
            await asyncio.wait([answered])
        ticking.cancel()
    print(f"the loop waited {longest * 1000:.0f} ms at most")
    assert longest < 0.3


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud800", "\ufffd"),
        (r"\uDFFF x", "\ufffd x"),
        (r"\ud800\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\\ufffd"),
    ],
)
async def test_fault_113_half_a_surrogate_pair_is_no_text(
    written: str, read: str
) -> None:
    """It is read as Go reads it, so that one node's name costs no other's."""
    assert ("0", [read]) == await asked(lambda: answer(f'["{written}"]'))


async def test_fault_113_an_error_has_the_status_that_refused() -> None:
    """Who decides by it need not read the message."""
    error = await refused(lambda: answer("no", status=403))
    assert 403 == error.status
    assert (await refused(lambda: answer("x"))).status is None


async def test_fault_53_a_body_shorter_than_it_says_is_an_error() -> None:
    """The connection ended in the middle of it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"[]")
        assert request.transport
        request.transport.close()
        return response

    async with server(handler) as url:
        with pytest.raises(ConsulError):
            await ask(url)


@pytest.mark.parametrize("index", [None, "", "-1", "x", "1.5", "9" * 5000, "\u0661"])
async def test_fault_50_an_index_that_is_none_is_zero(index: str | None) -> None:
    """The data is good; py-consul alone would raise."""
    assert ("0", []) == await asked(lambda: answer(X_Consul_Index=index))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999", 300.0),
        ("soon", None),
        ("-5", None),
        ("Wed, 21 Oct 2065 07:28:00 GMT", None),
        (None, None),
    ],
)
async def test_retry_after_is_kept_on_the_error(
    header: str | None, seconds: float | None
) -> None:
    """In seconds, within reason; a date would trust a wall clock."""
    error = await refused(lambda: answer("busy", 503, Retry_After=header))
    assert seconds == error.retry_after
    assert "HTTP 503: busy" in str(error)


async def test_an_error_says_what_consul_said() -> None:
    """On one line, of bearable length."""
    body = "rpc error\nmaking call: Permission denied\t" + "x" * 10_000
    error = await refused(lambda: answer(body, 403))
    assert "HTTP 403: rpc error making call: Permission denied x" in str(error)
    assert len(str(error)) < 300


async def test_fault_17_an_answer_emptied_by_acls_is_an_error() -> None:
    """It says nothing about the servers."""

    def filtered(body: str) -> web.Response:
        return answer(body, X_Consul_Results_Filtered_By_ACLs="true")

    assert "service:read" in str(await refused(lambda: filtered("[]")))
    assert ("0", [1]) == await asked(lambda: filtered("[1]"))


@pytest.mark.looptime(start=0)
async def test_fault_52_a_server_that_hangs_or_drips_meets_the_deadline() -> None:
    """For a blocking query too: the wait and 10 s."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if "drip" in request.query_string:
            await response.prepare(request)
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.2)
        await asyncio.sleep(60)
        return response

    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with server(handler) as url:
        errors = await asyncio.gather(
            ask(url), ask(url, tag="drip"), ask(url, index=1, wait="1s"),
            return_exceptions=True,
        )  # fmt: skip
    assert 10 <= loop.time() - begun < 14
    assert ["10 s", "10 s", "11 s"] == [str(e).rpartition("within ")[2] for e in errors]
