"""What is made of the files. That changes are noticed is in the contract tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from consul_ebpf.proxies.sources.drop_ins import MAX_BYTES, DropIns, Scan


def entry(*ids: str) -> str:
    return "\n".join(f'[[proxies]]\nid = "{id_}"' for id_ in ids)


def ids(source: DropIns) -> list[str]:
    return [proxy.id for proxy in source.scan().proxies]


@pytest.fixture
def source(tmp_path: Path) -> DropIns:
    return DropIns(tmp_path)


def test_files_in_order(tmp_path: Path, source: DropIns) -> None:
    """All files' proxies, by file name, each owned by its file."""
    (tmp_path / "b.toml").write_text(entry("three"))
    (tmp_path / "a.toml").write_text(entry("two", "one"))
    found = source.scan()
    proxies, wrong = found.proxies, found.wrong
    assert [each.id for each in proxies] == ["two", "one", "three"]
    assert {each.owner for each in proxies} == {
        f"{tmp_path}/a.toml",
        f"{tmp_path}/b.toml",
    }
    assert wrong == ()


@pytest.mark.parametrize(
    "name", [".a.toml", "a.toml~", ".a.toml.swp", "a.toml.tmp", "a", "README.md"]
)
def test_other_files(tmp_path: Path, source: DropIns, name: str) -> None:
    """Hidden files, editors' files and others are left alone."""
    (tmp_path / name).write_text(entry("a"))
    assert source.scan() == Scan(())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[proxies]", "a.toml: not TOML: "),
        ('[[proxies]]\nidd = "x"', "a.toml: proxies[0].idd: unknown key; did you mean"),
        ("[[proxies]]\nid = 1", "a.toml: proxies[0].id: expected str, got int"),
        ("[[proxies]]\nid = ''", "a.toml: proxies[0].id: '' is empty"),
        (entry("a", "a"), "a.toml: proxies[1].id: 'a' is that of proxies[0] too"),
        ("[kernel]\nvip_port = 1", "a.toml: kernel: unknown key; known here: proxies"),
        (
            '[[proxies]]\nid = "x"\ncredentials = { type = "login" }',
            "a.toml: proxies[0].credentials.auth_method: is empty; type",
        ),
        ("#" * (MAX_BYTES + 1), "a.toml: is larger than the 1048576 bytes"),
    ],
)
def test_bad_file(tmp_path: Path, source: DropIns, content: str, said: str) -> None:
    """A file that turns bad keeps its last good proxies, and leaves others alone."""
    file = tmp_path / "a.toml"
    file.write_text(entry("good"))
    (tmp_path / "b.toml").write_text(entry("other"))
    source.scan()
    file.write_text(content)
    for _ in range(2):
        found = source.scan()
        proxies, wrong = found.proxies, found.wrong
        assert found.lacking == ()
        assert [each.id for each in proxies] == ["good", "other"]
        assert len(wrong) == 1
        assert wrong[0].startswith(f"{tmp_path}/{said}")
        assert wrong[0].endswith("; keeping its last 1 proxies")
    (tmp_path / "b.toml").write_text(entry("another"))
    assert ids(source) == ["good", "another"]
    file.write_text(entry("better"))
    assert source.scan().wrong == ()
    assert ids(source) == ["better", "another"]


def test_bad_from_the_start(tmp_path: Path, source: DropIns) -> None:
    """A file that never was good holds nothing up."""
    (tmp_path / "a.toml").write_text("?")
    (tmp_path / "b.toml").write_text(entry("b"))
    found = source.scan()
    proxies, wrong = found.proxies, found.wrong
    assert [each.id for each in proxies] == ["b"]
    assert len(wrong) == 1
    assert "keeping" not in wrong[0]


def test_removed_file(tmp_path: Path, source: DropIns) -> None:
    """A file that is removed takes its proxies with it, and so does the directory."""
    (tmp_path / "a.toml").write_text(entry("a"))
    (tmp_path / "b.toml").write_text(entry("b"))
    assert ids(source) == ["a", "b"]
    (tmp_path / "a.toml").unlink()
    assert ids(source) == ["b"]
    (tmp_path / "b.toml").unlink()
    tmp_path.rmdir()
    assert source.scan() == Scan(())


def test_not_a_file(tmp_path: Path, source: DropIns) -> None:
    """A FIFO, a directory or a dangling link is named and stops nobody."""
    os.mkfifo(tmp_path / "a.toml")
    (tmp_path / "b.toml").mkdir()
    (tmp_path / "c.toml").symlink_to("nowhere")
    (tmp_path / "d.toml").write_text(entry("d"))
    descriptors = len([*Path("/proc/self/fd").iterdir()])
    found = source.scan()
    proxies, wrong = found.proxies, found.wrong
    assert descriptors == len([*Path("/proc/self/fd").iterdir()])
    assert [each.id for each in proxies] == ["d"]
    assert [text.partition(": ")[2] for text in wrong] == [
        "is a FIFO; a regular file is needed",
        "is a directory; a regular file is needed",
        "No such file or directory",
    ]


def test_not_a_directory(tmp_path: Path) -> None:
    """A path that stops being a directory is an error, not an empty directory."""
    path = tmp_path / "d"
    path.mkdir()
    (path / "a.toml").write_text(entry("a"))
    source = DropIns(path)
    assert ids(source) == ["a"]
    (path / "a.toml").unlink()
    path.rmdir()
    path.write_text("")
    found = source.scan()
    proxies, wrong = found.proxies, found.wrong
    assert [each.id for each in proxies] == ["a"]
    assert wrong == (f"{path}: Not a directory; keeping what was read",)


def test_replaced_file_of_the_same_size(tmp_path: Path, source: DropIns) -> None:
    """A file replaced by rename is read even with its size and times kept."""
    file, new = tmp_path / "a.toml", tmp_path / "new"
    file.write_text(entry("a"))
    new.write_text(entry("b"))
    status = file.stat()
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ids(source) == ["a"]
    new.rename(file)
    assert ids(source) == ["b"]


def start(tmp_path: Path) -> DropIns:
    """Begin as a new process does, with a directory of files and one of state."""
    for name in ("d", "state"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "state" / "vips.json").touch()
    source = DropIns(tmp_path / "d", state=tmp_path / "state")
    source.load()
    return source


def half(text: str) -> str:
    return text[: len(text) - 1]


@pytest.mark.parametrize(
    "breaks",
    [
        lambda file: file.write_text(half(entry("a", "b"))),
        lambda file: file.write_text(""),
        lambda file: file.write_text("\n\n"),
        lambda file: file.write_bytes(b"\0" * 4096),
        lambda file: file.write_text(entry("a", "b"), encoding="utf-16"),
        lambda file: file.write_text("x = " + "[" * 1200),
        lambda file: file.write_bytes(b"#" * 100_000_000),
        Path.mkdir,
        os.mkfifo,
        lambda file: file.symlink_to("/dev/zero"),
        lambda file: file.symlink_to("nowhere"),
        lambda file: file.write_text('[[proxies]]\nid = "a\\u0000"'),
    ],
)
def test_fault_85_a_drop_in_broken_over_a_restart_keeps_its_proxies(
    tmp_path: Path, breaks: Callable[[Path], object]
) -> None:
    """Whatever it is now: what was good last is known, and nothing is lacking."""
    source = start(tmp_path)
    file = tmp_path / "d" / "a.toml"
    file.write_text(entry("a", "b"))
    (tmp_path / "d" / "c.toml").write_text(entry("c"))
    assert ids(source) == ["a", "b", "c"]
    file.unlink()
    breaks(file)
    for _ in range(2):
        found = start(tmp_path).scan()
        assert [each.id for each in found.proxies] == ["a", "b", "c"]
        assert len(found.wrong) == 1
        assert found.wrong[0].startswith(str(file))
        assert found.lacking == ()
    (tmp_path / "d" / "c.toml").unlink()
    again = start(tmp_path)
    assert ids(again) == ["a", "b"]
    _remove(file)
    assert ids(again) == []
    assert ids(start(tmp_path)) == []


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()


def test_fault_85_a_directory_that_cannot_be_listed_keeps_all(tmp_path: Path) -> None:
    """Over a restart, too; what else may be in it is lacking."""
    source = start(tmp_path)
    (tmp_path / "d" / "a.toml").write_text(entry("a"))
    assert ids(source) == ["a"]
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    (tmp_path / "d").write_text("in the way")
    source = DropIns(tmp_path / "d", state=tmp_path / "state")
    source.load()
    found = source.scan()
    assert [each.id for each in found.proxies] == ["a"]
    assert found.lacking == (f"{tmp_path}/d: Not a directory; keeping what was read",)


def test_fault_85_what_a_file_held_before_may_be_unknown(tmp_path: Path) -> None:
    """Proxies were served here, by whom kept no files: a broken one is lacking."""
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "a.toml"
    file.write_text("broken")
    for _ in range(2):
        found = start(tmp_path).scan()
        assert len(found.lacking) == 1
        assert found.lacking[0].startswith(f"{file}: not TOML")
    (tmp_path / "d" / "b.toml").write_text("broken")  # new: it never held any
    assert len(start(tmp_path).scan().lacking) == 1
    file.write_text(entry("a"))
    source = start(tmp_path)
    assert source.scan().lacking == ()
    file.write_text("broken")
    assert source.scan().lacking == ()


def test_who_only_looks_writes_nothing(tmp_path: Path) -> None:
    """And moves no damaged file aside."""
    source = start(tmp_path)
    (tmp_path / "d" / "a.toml").write_text(entry("a"))
    memory = tmp_path / "state" / "dropins.json"
    looking = DropIns(tmp_path / "d", state=tmp_path / "state", writes=False)
    looking.load()
    assert ids(looking) == ["a"]
    assert not memory.exists()
    assert ids(source) == ["a"]
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_text("damaged")
    looking.load()
    assert memory.read_text() == "damaged"
    (tmp_path / "d" / "a.toml").write_text("broken")
    assert ids(start(tmp_path)) == []
    assert not memory.read_text().startswith("damaged")
