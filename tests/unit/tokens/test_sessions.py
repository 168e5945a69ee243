"""What is on disk is what is in memory, whoever saves and whenever it ends."""

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from consul_ebpf.model.lifetime import FOREVER, UNKNOWN, Lifetime
from consul_ebpf.model.values import Login
from consul_ebpf.tokens.memory import Retired, Session, TokenMemory
from consul_ebpf.tokens.sessions import Sessions

HOW = Login("jwt", bearer_token="b")


class SlowMemory(TokenMemory):
    """Takes its time, and never the same; counts who writes together."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._lock = threading.Lock()
        self.writes = 0
        self.together = 0

    def save(self, sessions: Mapping[str, Session], retired: Sequence[Retired]) -> None:
        if not self._lock.acquire(blocking=False):
            self.together += 1
            self._lock.acquire()
        try:
            self.writes += 1
            time.sleep(0.003 if self.writes % 3 else 0.02)
            super().save(sessions, retired)
        finally:
            self._lock.release()


async def log_in(sessions: Sessions, key: str, times: int) -> None:
    for n in range(times):
        session = Session(HOW, f"{key}-{n}", 0)
        await sessions.begin(key, session)
        await asyncio.sleep(0)
        await sessions.promote(key, session)


async def test_fault_97_many_logins_at_once_lose_no_token(tmp_path: Path) -> None:
    """Every token is on disk, as one in use or as one to be logged out."""
    memory = SlowMemory(tmp_path)
    sessions = Sessions(memory)
    await sessions.load()
    await asyncio.gather(*(log_in(sessions, f"web-{n}", 5) for n in range(20)))
    current, retired = TokenMemory(tmp_path).load()
    assert {s.secret for s in current.values()} == {f"web-{n}-4" for n in range(20)}
    assert len(retired) == 80
    assert memory.together == 0
    assert memory.writes < 100  # those that came meanwhile are written together


async def test_fault_97_whoever_returns_has_its_token_on_disk(tmp_path: Path) -> None:
    """A crash right after leaves no token that nobody logs out."""
    sessions = Sessions(SlowMemory(tmp_path))
    await sessions.load()

    async def one(n: int) -> None:
        await sessions.begin(f"web-{n}", Session(HOW, f"secret-{n}", 0))
        _, retired = TokenMemory(tmp_path).load()
        assert f"secret-{n}" in {each.secret for each in retired}

    await asyncio.gather(*(one(n) for n in range(30)))


async def test_fault_97_cancelled_it_is_written_all_the_same(tmp_path: Path) -> None:
    """And nobody writes after that: the next one's file is its own."""
    memory = SlowMemory(tmp_path)
    sessions = Sessions(memory)
    await sessions.load()
    tasks = [
        asyncio.create_task(sessions.begin(f"web-{n}", Session(HOW, f"secret-{n}", 0)))
        for n in range(20)
    ]
    await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    writes = memory.writes
    _, retired = TokenMemory(tmp_path).load()
    assert len(retired) == 20
    await asyncio.sleep(0.1)
    assert memory.writes == writes


async def test_a_crash_before_the_new_one_is_used(tmp_path: Path) -> None:
    """The old one is the key's still, and the new one is to be logged out."""
    sessions = Sessions(TokenMemory(tmp_path))
    await sessions.load()
    old, new = Session(HOW, "old", 0), Session(HOW, "new", 1)
    await sessions.promote("web", old)
    await sessions.begin("web", new)
    again = Sessions(TokenMemory(tmp_path))
    await again.load()
    assert again.current["web"].secret == "old"
    (unused,) = again.retired.value or ()
    assert (unused.secret, unused.used) == ("new", False)
    await sessions.promote("web", new)
    again = Sessions(TokenMemory(tmp_path))
    await again.load()
    assert again.current["web"].secret == "new"
    (used,) = again.retired.value or ()
    assert (used.secret, used.used) == ("old", True)


@pytest.mark.parametrize(
    ("lifetime", "life"),
    [(None, UNKNOWN), (-1, UNKNOWN), (0, FOREVER), (60, Lifetime(60))],
)
def test_a_lifetime_in_the_file(lifetime: float | None, life: Lifetime) -> None:
    """None is not known, 0 for ever: the version before takes both for not known."""
    session = Session(HOW, "s", 0, lifetime)
    assert session.life == life
    if lifetime is None or lifetime >= 0:
        assert session.living(life) == session


async def test_a_file_of_the_version_before(tmp_path: Path) -> None:
    """Is read: what it has retired was used, and a lifetime of null is not known."""
    login = {"auth_method": "jwt", "meta": [["pod", "x"]]}
    content = {
        "sessions": {
            "web": {"how": login, "secret": "now", "made": 1.5, "lifetime": None}
        },
        "retired": [{"key": "web", "how": login, "secret": "old"}],
    }
    (tmp_path / "tokens.json").write_text(
        json.dumps({"version": 1, "content": content, "checksum": ""})
    )
    sessions = Sessions(TokenMemory(tmp_path))
    await sessions.load()
    assert sessions.current["web"].life == UNKNOWN
    assert [each.used for each in sessions.retired.value or ()] == [True]


async def test_nobody_hears_of_a_retired_token_before_the_disk(tmp_path: Path) -> None:
    """Else it would be logged out, and resumed after a crash."""
    sessions = Sessions(SlowMemory(tmp_path))
    await sessions.load()
    await sessions.promote("web", Session(HOW, "old", 0))
    retiring = asyncio.create_task(sessions.retire(["web"]))
    async for retired in sessions.retired.changes():
        if retired:
            break
    current, on_disk = TokenMemory(tmp_path).load()
    assert not current
    assert tuple(each.secret for each in on_disk) == ("old",)
    await retiring
