"""What is made of the files. That changes are noticed is in the contract tests."""

import os
from pathlib import Path

import pytest

from consul_ebpf.proxies.sources.directory import MAX_BYTES, DirectoryWorkloads


def entry(*ids: str) -> str:
    return "\n".join(f'[[proxies]]\nid = "{id_}"' for id_ in ids)


def ids(source: DirectoryWorkloads) -> list[str]:
    return [proxy.id for proxy in source.scan()[0]]


@pytest.fixture
def source(tmp_path: Path) -> DirectoryWorkloads:
    return DirectoryWorkloads(tmp_path)


def test_files_in_order(tmp_path: Path, source: DirectoryWorkloads) -> None:
    """All files' proxies, by file name, each owned by its file."""
    (tmp_path / "b.toml").write_text(entry("three"))
    (tmp_path / "a.toml").write_text(entry("two", "one"))
    proxies, wrong = source.scan()
    assert [each.id for each in proxies] == ["two", "one", "three"]
    assert {each.owner for each in proxies} == {
        f"{tmp_path}/a.toml",
        f"{tmp_path}/b.toml",
    }
    assert wrong == ()


@pytest.mark.parametrize(
    "name", [".a.toml", "a.toml~", ".a.toml.swp", "a.toml.tmp", "a", "README.md"]
)
def test_other_files(tmp_path: Path, source: DirectoryWorkloads, name: str) -> None:
    """Hidden files, editors' files and others are left alone."""
    (tmp_path / name).write_text(entry("a"))
    assert source.scan() == ((), ())


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
        ("#" * (MAX_BYTES + 1), "a.toml: larger than 1 MiB; split it"),
    ],
)
def test_bad_file(
    tmp_path: Path, source: DirectoryWorkloads, content: str, said: str
) -> None:
    """A file that turns bad keeps its last good proxies, and leaves others alone."""
    file = tmp_path / "a.toml"
    file.write_text(entry("good"))
    (tmp_path / "b.toml").write_text(entry("other"))
    source.scan()
    file.write_text(content)
    for _ in range(2):
        proxies, wrong = source.scan()
        assert [each.id for each in proxies] == ["good", "other"]
        assert len(wrong) == 1
        assert wrong[0].startswith(f"{tmp_path}/{said}")
        assert wrong[0].endswith("; keeping its last 1 proxies")
    (tmp_path / "b.toml").write_text(entry("another"))
    assert ids(source) == ["good", "another"]
    file.write_text(entry("better"))
    assert source.scan()[1] == ()
    assert ids(source) == ["better", "another"]


def test_bad_from_the_start(tmp_path: Path, source: DirectoryWorkloads) -> None:
    """A file that never was good holds nothing up."""
    (tmp_path / "a.toml").write_text("?")
    (tmp_path / "b.toml").write_text(entry("b"))
    proxies, wrong = source.scan()
    assert [each.id for each in proxies] == ["b"]
    assert len(wrong) == 1
    assert "keeping" not in wrong[0]


def test_removed_file(tmp_path: Path, source: DirectoryWorkloads) -> None:
    """A file that is removed takes its proxies with it, and so does the directory."""
    (tmp_path / "a.toml").write_text(entry("a"))
    (tmp_path / "b.toml").write_text(entry("b"))
    assert ids(source) == ["a", "b"]
    (tmp_path / "a.toml").unlink()
    assert ids(source) == ["b"]
    (tmp_path / "b.toml").unlink()
    tmp_path.rmdir()
    assert source.scan() == ((), ())


def test_not_a_file(tmp_path: Path, source: DirectoryWorkloads) -> None:
    """A FIFO, a directory or a dangling link is named and stops nobody."""
    os.mkfifo(tmp_path / "a.toml")
    (tmp_path / "b.toml").mkdir()
    (tmp_path / "c.toml").symlink_to("nowhere")
    (tmp_path / "d.toml").write_text(entry("d"))
    descriptors = len([*Path("/proc/self/fd").iterdir()])
    proxies, wrong = source.scan()
    assert descriptors == len([*Path("/proc/self/fd").iterdir()])
    assert [each.id for each in proxies] == ["d"]
    assert [text.partition(": ")[2] for text in wrong] == [
        "not a file",
        "not a file",
        "No such file or directory",
    ]


def test_not_a_directory(tmp_path: Path) -> None:
    """A path that stops being a directory is an error, not an empty directory."""
    path = tmp_path / "d"
    path.mkdir()
    (path / "a.toml").write_text(entry("a"))
    source = DirectoryWorkloads(path)
    assert ids(source) == ["a"]
    (path / "a.toml").unlink()
    path.rmdir()
    path.write_text("")
    proxies, wrong = source.scan()
    assert [each.id for each in proxies] == ["a"]
    assert wrong == (f"{path}: Not a directory; keeping what was read",)


def test_replaced_file_of_the_same_size(
    tmp_path: Path, source: DirectoryWorkloads
) -> None:
    """A file replaced by rename is read even with its size and times kept."""
    file, new = tmp_path / "a.toml", tmp_path / "new"
    file.write_text(entry("a"))
    new.write_text(entry("b"))
    status = file.stat()
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ids(source) == ["a"]
    new.rename(file)
    assert ids(source) == ["b"]
