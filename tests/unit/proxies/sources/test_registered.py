"""Proxies registered at run time: checked, kept, and told of."""

import asyncio
import json
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf.config.schema import Credentials, ProxyEntry
from consul_ebpf.model.errors import ConfigError, ConsulEbpfError
from consul_ebpf.proxies.sources.registered import REGISTERED_FILE, RegisteredWorkloads

LOGIN = Credentials(type="login", auth_method="jwt", bearer_token_file="/host.jwt")


async def test_it_is_told_of_and_kept(tmp_path: Path) -> None:
    """Each change at once; another controller begins with the same ones."""
    source = RegisteredWorkloads(tmp_path, LOGIN)
    own = Credentials(type="login", bearer_token_file="/web.jwt")
    async with aclosing(cast("Any", source.watch())) as watching:
        assert await anext(watching) == ()
        assert await source.put(ProxyEntry(id="web", credentials=own))
        (proxy,) = await anext(watching)
        assert not await source.put(ProxyEntry(id="web", node="n", credentials=own))
        (proxy,) = await anext(watching)
        assert proxy.node == "n"
        assert proxy.credentials.login.auth_method == "jwt"
        assert proxy.credentials.login.bearer_token_file == "/web.jwt"
    again = RegisteredWorkloads(tmp_path, LOGIN)
    async with aclosing(cast("Any", again.watch())) as watching:
        assert await anext(watching) == (proxy,)
        assert await again.owns("web")
        assert await again.remove("web")
        assert not await again.remove("web")
        assert await anext(watching) == ()
    mode = (tmp_path / REGISTERED_FILE).stat().st_mode
    assert mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"id": "../x"}, "id: '../x' holds"),
        ({"id": "x", "vip": "y"}, "vip: 'y' is not an IP address"),
        ({"id": "x", "admin": "y"}, "admin: 'y': not an IP address"),
        (
            {"id": "x", "credentials": {"type": "static", "token": "s3cr3t"}},
            "credentials.token: a secret is not kept here",
        ),
        (
            {"id": "x", "credentials": {"type": "login", "bearer_token": "s3cr3t"}},
            "name that in bearer_token_file",
        ),
        ({"id": "x", "credentials": {"type": "login"}}, "credentials.auth_method: is"),
        ({"id": "x", "netns": "/a\0b"}, "netns: '/a\\x00b' holds a control character"),
        ({"id": "x", "node": "\ud800"}, "node: '\\ud800' is not Unicode text"),
        ({"id": "api.sock"}, "id: 'api.sock' ends with"),
        (
            {"id": "x", "credentials": {"type": "static", "token_file": "/a\0s3cr3t"}},
            "credentials.token_file: holds a control character",
        ),
        (
            {
                "id": "x",
                "credentials": {
                    "type": "login",
                    "auth_method": "jwt",
                    "bearer_token_file": "/a\0s3cr3t",
                },
            },
            "credentials.bearer_token_file: holds a control character",
        ),
        (
            {
                "id": "x",
                "credentials": {
                    "type": "login",
                    "auth_method": "jwt",
                    "bearer_token_file": "/jwt",
                    "meta": {"pod": "\ud800"},
                },
            },
            "credentials.meta: is not Unicode text",
        ),
    ],
)
async def test_fault_88_what_cannot_be_used_changes_nothing(
    tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    """Refused by its key, without a secret."""
    source = RegisteredWorkloads(tmp_path)
    with pytest.raises(ConfigError) as caught:
        await source.put(msgspec.convert(entry, ProxyEntry))
    assert said in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert not (tmp_path / REGISTERED_FILE).exists()


async def test_fault_85_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    """Nothing is registered, the endpoint works on; what was in it is lacking."""
    (tmp_path / REGISTERED_FILE).write_text("{")
    source = RegisteredWorkloads(tmp_path)
    assert await source.put(ProxyEntry(id="web"))
    aside = tmp_path / f"{REGISTERED_FILE}.bad"
    assert aside.exists()
    again = RegisteredWorkloads(tmp_path)
    assert again.lacking == (f"{tmp_path}/{REGISTERED_FILE} has not been read yet",)
    assert await again.owns("web")
    assert len(again.lacking) == 1
    assert "register its proxies again, then remove that file" in again.lacking[0]
    aside.unlink()
    assert not list(again.lacking)


async def test_fault_88_an_entry_kept_by_another_version_is_not_fatal(
    tmp_path: Path,
) -> None:
    """It is said, lacking and kept, until it is registered again or removed."""
    source = RegisteredWorkloads(tmp_path, LOGIN)
    own = Credentials(type="login", bearer_token_file="/a?b")
    assert await source.put(ProxyEntry(id="good"))
    assert await source.put(ProxyEntry(id="bad", credentials=own))
    assert await source.put(ProxyEntry(id="new"))
    path = tmp_path / REGISTERED_FILE
    text = path.read_text().replace("/a?b", "/a\\u0000b")
    content = json.loads(text)
    content["content"][2]["a_new_key"] = 1
    del content["checksum"]
    path.write_text(json.dumps(content))
    again = RegisteredWorkloads(tmp_path, LOGIN)
    async with aclosing(cast("Any", again.watch())) as watching:
        assert [each.id for each in await anext(watching)] == ["good"]
        assert len(again.lacking) == 2
        assert "'bad': credentials.bearer_token_file: holds a" in again.lacking[0]
        assert "'new': its entry: a_new_key: unknown key" in again.lacking[1]
        assert await again.put(ProxyEntry(id="other"))
        assert await again.owns("bad")
        assert await again.remove("bad")
        assert not await again.put(ProxyEntry(id="new"))
        assert not list(again.lacking)


async def test_fault_87_sixty_at_once_are_all_kept(tmp_path: Path) -> None:
    """Whoever was answered is in the file; they share writes, removals among them."""
    source = RegisteredWorkloads(tmp_path)
    ids = [f"web-{number}" for number in range(60)]
    done = asyncio.gather(*(source.put(ProxyEntry(id=each)) for each in ids))
    assert await done == [True] * 60
    again = RegisteredWorkloads(tmp_path)
    async with aclosing(cast("Any", again.watch())) as watching:
        assert [each.id for each in await anext(watching)] == ids
    had = await asyncio.gather(
        *(source.remove(each) for each in ids[:30]),
        *(source.put(ProxyEntry(id=each)) for each in ids[20:40]),
    )
    assert had == [True] * 30 + [True] * 10 + [False] * 10
    again = RegisteredWorkloads(tmp_path)
    async with aclosing(cast("Any", again.watch())) as watching:
        assert {each.id for each in await anext(watching)} == set(ids[20:])


async def test_fault_87_what_cannot_be_written_is_not_registered(
    tmp_path: Path,
) -> None:
    """Whoever asks hears so; when the disk takes it again, so does the list."""
    directory = tmp_path / "run"
    source = RegisteredWorkloads(directory)
    assert await source.put(ProxyEntry(id="web"))
    (directory / REGISTERED_FILE).unlink()
    directory.rmdir()
    directory.write_text("in the way")
    with pytest.raises(ConsulEbpfError, match="cannot be written: nothing was changed"):
        await source.put(ProxyEntry(id="db"))
    with pytest.raises(ConsulEbpfError, match="cannot be written"):
        await source.remove("web")
    assert not await source.owns("db")
    assert await source.owns("web")
    directory.unlink()
    assert await source.put(ProxyEntry(id="db"))
    assert await RegisteredWorkloads(directory).owns("web")


async def test_fault_87_who_gives_up_waiting_costs_nobody_else(tmp_path: Path) -> None:
    """A client that goes away while its entry is written: the others are kept."""
    source = RegisteredWorkloads(tmp_path)
    puts = [
        asyncio.ensure_future(source.put(ProxyEntry(id=f"web-{number}")))
        for number in range(6)
    ]
    await asyncio.sleep(0)
    puts[0].cancel()
    puts[3].cancel()
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert [each for each in done if each is True] == [True] * 4
    for number in (1, 2, 4, 5):
        assert await RegisteredWorkloads(tmp_path).owns(f"web-{number}")


TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["", "\ud800", "/a\0b", "/run/x", "127.64.0.1", "127.0.0.1:1", "login", "static"]
)
CREDENTIALS = st.builds(
    Credentials,
    type=st.sampled_from(["", "static", "login"]),
    token_file=TEXT,
    auth_method=TEXT,
    bearer_token_file=TEXT,
    namespace=TEXT,
    meta=st.dictionaries(TEXT, TEXT, max_size=2),
    token_ttl=st.floats(),
)
ENTRIES = st.builds(
    ProxyEntry,
    id=TEXT,
    node=TEXT,
    namespace=st.just("default") | TEXT,
    service=TEXT,
    vip=st.just("") | TEXT,
    admin=st.just("") | TEXT,
    netns=st.just("") | TEXT,
    credentials=st.just(Credentials()) | CREDENTIALS,
)


@given(st.lists(ENTRIES, max_size=4))
def test_fault_88_what_is_taken_can_be_read_again(entries: list[ProxyEntry]) -> None:
    """Whatever is asked for is refused in one line, or there after a restart."""

    async def put(directory: Path) -> None:
        source = RegisteredWorkloads(directory)
        taken, said = {}, []
        for entry in entries:
            try:
                await source.put(entry)
            except ConfigError as error:
                said.append(str(error))
            else:
                taken[entry.id] = entry.node
        assert all(map(str.isprintable, said))
        again = RegisteredWorkloads(directory)
        async with aclosing(cast("Any", again.watch())) as watching:
            found = await anext(watching)
        assert taken == {each.id: each.node for each in found}
        assert again.lacking == ()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(put(Path(name)))
