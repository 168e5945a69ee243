"""The volumes on disk: read again by another process, whatever is in the file."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from consul_ebpf.base.state_file import JsonFile
from consul_ebpf.kubernetes.attributes import Attributes
from consul_ebpf.kubernetes.pods.bearers import Bearers
from consul_ebpf.kubernetes.pods.join import Registration
from consul_ebpf.kubernetes.pods.kept import RECOVERY_SECONDS, Kept, KeptVolumes
from consul_ebpf.kubernetes.pods.volume import Volume

pytestmark = pytest.mark.looptime(start=0)


def kept(id_: str, **more: Any) -> Kept:
    volume = Volume(
        id=id_,
        target="/t",
        namespace="shop",
        pod="web-1",
        uid="u",
        service_account="web",
        attributes=Attributes(options={"login-meta": ("a=b",)}, uid=5995),
    )
    return Kept(volume, "/cg", **more)


async def test_another_process_knows_them(tmp_path: Path) -> None:
    """With all that is known of them, in the same order."""
    volumes = KeptVolumes(tmp_path)
    await asyncio.gather(*(volumes.keep(kept(f"v{n}")) for n in range(50)))
    await volumes.keep(kept("v1", published=True, registration=Registration(id="x")))
    await volumes.remove("v2")

    again = KeptVolumes(tmp_path)

    assert await again.load() == volumes.volumes
    assert 49 == len(again.volumes)
    assert () == again.lacking


async def test_before_the_file_is_read_there_may_be_volumes(tmp_path: Path) -> None:
    """Nothing of theirs may be removed until then."""
    volumes = KeptVolumes(tmp_path)

    assert "has not been read yet" in volumes.lacking[0]
    await volumes.load()
    assert () == volumes.lacking


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"version": 1, "content": 3}'])
async def test_a_damaged_file_is_no_end(tmp_path: Path, content: str) -> None:
    """It is moved aside, and for a while volumes may be missing."""
    (tmp_path / "volumes.json").write_text(content)
    volumes = KeptVolumes(tmp_path)

    assert {} == await volumes.load()
    assert "was damaged" in volumes.lacking[0]
    await asyncio.sleep(RECOVERY_SECONDS)
    assert () == volumes.lacking


async def test_an_entry_of_another_version_costs_no_other(tmp_path: Path) -> None:
    """Unknown fields are left out; what cannot be understood is named again."""
    volumes = KeptVolumes(tmp_path)
    await volumes.keep(kept("v1"))
    path = tmp_path / "volumes.json"
    (entry,) = json.loads(path.read_text())["content"]
    entries = [{**entry, "news": 1}, {"volume": 7}, None]
    JsonFile(path, list[Any]).save(entries)

    again = KeptVolumes(tmp_path)

    assert volumes.volumes == await again.load()
    assert again.lacking


async def test_changes_at_once_are_all_made(tmp_path: Path) -> None:
    """Each sees what the one before it has made."""
    volumes = KeptVolumes(tmp_path)

    def with_one_more(now: Kept | None) -> Kept:
        times = int(now.cgroup) + 1 if now else 1
        return Kept(kept("v").volume, str(times))

    for _ in range(20):
        volumes.change_soon({"v": with_one_more})
        await asyncio.sleep(0)
    await volumes.remove("other")

    assert "20" == volumes.volumes["v"].cgroup


async def test_the_file_is_closed_to_others(tmp_path: Path) -> None:
    """It names pods, and who they log in as."""
    await KeptVolumes(tmp_path).keep(kept("v1"))

    assert 0o600 == (tmp_path / "volumes.json").stat().st_mode & 0o777


def test_a_bearer_is_written_when_it_changed(tmp_path: Path) -> None:
    """Also by another process; its file and directory are closed to others."""
    bearers = Bearers(tmp_path)
    path = tmp_path / ".bearer" / "key"
    bearers.write("key", "one")
    inode = path.stat().st_ino
    for each in (bearers, Bearers(tmp_path)):
        each.write("key", "one")
    assert inode == path.stat().st_ino
    assert 0o700 == path.parent.stat().st_mode & 0o777
    assert 0o600 == path.stat().st_mode & 0o777

    bearers.write("key", "two")
    assert "two" == path.read_text()
    path.unlink()
    bearers.write("key", "two")
    assert "two" == path.read_text()


def test_other_pods_bearers_are_removed(tmp_path: Path) -> None:
    """What a process that was killed left is nobody's."""
    bearers = Bearers(tmp_path)
    bearers.keep_only({"a"})
    for key in ("a", "b"):
        bearers.write(key, "secret")
    (tmp_path / ".bearer" / ".b.1234.tmp").write_text("half")

    bearers.keep_only({"a"})
    bearers.remove("never")

    assert ["a"] == [path.name for path in (tmp_path / ".bearer").iterdir()]
