"""Files that cannot be written, read or removed are one proxy's trouble."""

from dataclasses import replace
from pathlib import Path

import pytest

from consul_ebpf import (
    Proxy,
)
from consul_ebpf.controller.inputs import NO_BOOTSTRAP, Inputs
from consul_ebpf.controller.outcomes import Converged
from consul_ebpf.envoy.right_files import WrongFiles
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.token_keys import Tokens
from consul_ebpf.model.values import ProxyFiles
from consul_ebpf.testing.maps import MemoryMapBackend
from tests.lab.round_inputs import (
    API,
    FOUR,
    NEW,
    RUNNING,
    WEB,
    served,
    tokens,
)
from tests.lab.rounds import Rounds


def test_fault_64_a_file_that_cannot_be_written_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are written; the round says it is not complete; then it is."""
    (tmp_path / "web").write_text("in the way of a directory")
    backend = MemoryMapBackend()
    host = Rounds(tmp_path, backend)
    inputs = Inputs((FOUR,), (WEB, Proxy("api", "host1")))
    done = host.converge(inputs)
    assert str(done) == str(Converged(servers=1, proxies=2, refused=1, complete=False))
    assert (tmp_path / "api" / "bootstrap.json").is_file()
    assert len(backend.read().table.vips) == 2
    assert str(host.converge(inputs)) == str(done)
    assert [str(tmp_path / "web") in text for text in caplog.messages].count(True) == 1

    (tmp_path / "web").unlink()
    assert str(host.converge(inputs)) == str(Converged(servers=1, proxies=2, refused=0))
    assert (tmp_path / "web" / "bootstrap.json").is_file()


def test_a_volume_that_is_gone_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes before its proxy does: only status tells of it, and it is tried again."""
    volume = tmp_path / "volume"
    files = ProxyFiles(str(volume), exists_already=True)
    pod = replace(WEB, files=files)
    host = Rounds(tmp_path / "run", MemoryMapBackend())
    done = host.converge(Inputs((FOUR,), (pod, API)))
    assert done.refusals == {"web": f"{NO_BOOTSTRAP}: {str(volume)!r} is not there"}
    assert not done.complete
    volume.mkdir()
    assert host.converge(Inputs((FOUR,), (pod, API))).complete
    volume.rename(tmp_path / "gone")
    host.converge(Inputs((FOUR,), (pod, API), tokens=tokens("two")))
    done = host.converge(Inputs((FOUR,), (API,), tokens=tokens("two")))
    assert done.complete
    assert not volume.exists()
    assert not [each for each in caplog.records if each.levelname != "INFO"]


def test_fault_80_one_unwritable_file_is_one_proxys(tmp_path: Path) -> None:
    """The outcome says which token is in whose file, and not which should be."""
    host = Rounds(tmp_path, MemoryMapBackend())
    host.converge(Inputs((FOUR,), RUNNING, tokens=tokens("one")))
    token = tmp_path / "web" / "token.json"
    token.rename(tmp_path / "web" / "kept")
    token.mkdir()
    done = host.converge(Inputs((FOUR,), RUNNING, tokens=tokens("two")))
    assert not done.complete
    assert (served(done, WEB).token, served(done, API).token) == ("", "two")
    assert served(done, WEB).bootstrap
    assert "token.json" in str(served(done, WEB).trouble)
    assert served(done, API).trouble is None
    token.rmdir()
    done = host.converge(Inputs((FOUR,), RUNNING, tokens=tokens("two")))
    assert (served(done, WEB).token, done.complete) == ("two", True)


def test_fault_80_a_token_that_another_process_wrote_is_not_known(
    tmp_path: Path,
) -> None:
    """Until it is written anew: it may be the one that is to be logged out."""
    backend = MemoryMapBackend()
    inputs = Inputs((FOUR,), (WEB,), tokens=tokens("one"))
    Rounds(tmp_path, backend).converge(inputs)
    waiting = replace(inputs, tokens=Tokens({"": Missing("not yet")}))
    host = Rounds(tmp_path, backend)
    done = host.converge(waiting)
    assert served(done, WEB).token is None
    assert served(done, WEB).waiting is None  # its Envoy goes on with what it has
    assert served(host.converge(inputs), WEB).token == "one"


def test_fault_80_what_a_file_holds_stays_known_when_another_fails(
    tmp_path: Path,
) -> None:
    """As long as this process wrote it, whatever is wrong beside it."""
    host = Rounds(tmp_path, MemoryMapBackend())
    inputs = Inputs((FOUR,), (WEB,), tokens=tokens("one"))
    host.converge(inputs)
    (tmp_path / "web" / "bootstrap.json").unlink()
    (tmp_path / "web" / "bootstrap.json").mkdir()
    waiting = replace(inputs, tokens=Tokens({"": Missing("not yet")}))
    wrong = replace(waiting, wrong=WrongFiles(frozenset({"web"}), 1))
    assert served(host.converge(wrong), WEB).token == "one"
    done = host.converge(inputs)
    assert (served(done, WEB).token, done.complete) == ("one", False)
    assert served(host.converge(waiting), WEB).token == "one"


def test_fault_80_a_prune_that_fails_is_nobodys_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again, said once, and the others' files are removed."""
    host = Rounds(tmp_path, MemoryMapBackend())
    host.converge(Inputs((FOUR,), (*RUNNING, NEW)))
    (tmp_path / "api" / "bootstrap.json").unlink()
    (tmp_path / "api" / "bootstrap.json").mkdir()
    for _ in range(2):
        done = host.converge(Inputs((FOUR,), (WEB,)))
        assert (done.refused, done.complete, set(done.outcomes)) == (0, False, {"web"})
    assert not (tmp_path / "new").exists()
    said = [text for text in caplog.messages if "cannot remove" in text]
    assert len(said) == 1


def test_fault_80_an_id_that_is_a_file_of_ours_is_refused(tmp_path: Path) -> None:
    """By name; nothing else notices."""
    host = Rounds(tmp_path, MemoryMapBackend())
    ids = ("api.sock", "problems.json", "vips.json", "x.bad")
    named = [Proxy(each, "host1") for each in ids]
    done = host.converge(Inputs((FOUR,), (WEB, *named)))
    assert (done.proxies, done.refused, done.complete) == (1, 4, True)
    assert "as our own files do" in str(done.outcomes["api.sock"])
