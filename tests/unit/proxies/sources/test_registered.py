"""Proxies registered at run time: checked, kept, and told of."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from consul_ebpf.config.schema import Credentials, ProxyEntry
from consul_ebpf.model.errors import ConfigError
from consul_ebpf.proxies.sources.registered import REGISTERED_FILE, RegisteredWorkloads

LOGIN = Credentials(type="login", auth_method="jwt", bearer_token_file="/host.jwt")


async def test_it_is_told_of_and_kept(tmp_path: Path) -> None:
    """Each change at once; another controller begins with the same ones."""
    source = RegisteredWorkloads(tmp_path, LOGIN)
    own = Credentials(type="login", bearer_token_file="/web.jwt")
    async with aclosing(cast("Any", source.watch())) as watching:
        assert await anext(watching) == ()
        assert source.put(ProxyEntry(id="web", credentials=own))
        (proxy,) = await anext(watching)
        assert not source.put(ProxyEntry(id="web", node="n", credentials=own))
        (proxy,) = await anext(watching)
        assert proxy.node == "n"
        assert proxy.credentials.login.auth_method == "jwt"
        assert proxy.credentials.login.bearer_token_file == "/web.jwt"
    again = RegisteredWorkloads(tmp_path, LOGIN)
    async with aclosing(cast("Any", again.watch())) as watching:
        assert await anext(watching) == (proxy,)
        assert "web" in again
        assert again.remove("web")
        assert not again.remove("web")
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
    ],
)
async def test_what_cannot_be_used_changes_nothing(
    tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    """Refused by its key, without a secret."""
    source = RegisteredWorkloads(tmp_path)
    with pytest.raises(ConfigError) as caught:
        source.put(msgspec.convert(entry, ProxyEntry))
    assert said in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert not (tmp_path / REGISTERED_FILE).exists()


async def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    """And nothing is registered; the endpoint works on."""
    (tmp_path / REGISTERED_FILE).write_text("{")
    source = RegisteredWorkloads(tmp_path)
    assert await asyncio.to_thread(source.put, ProxyEntry(id="web"))
    assert (tmp_path / f"{REGISTERED_FILE}.bad").exists()
