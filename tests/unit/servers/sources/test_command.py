"""Commands that print addresses, or something else."""

import asyncio
import os
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from consul_ebpf.config.seeds import Command
from consul_ebpf.model.errors import ConsulError
from consul_ebpf.servers.sources import command
from consul_ebpf.servers.sources.names import Resolver, ResolvingSource


def shell(script: str) -> Command:
    return Command(("sh", "-c", script), 5)


async def printed(text: str) -> list[str]:
    found = await command.run(Command(("printf", "%s", text), 5))
    return [each.endpoint for each in found.servers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "10.0.0.1\n 10.0.0.2:1\tfd00::1",
            ["10.0.0.1:5", "10.0.0.2:1", "[fd00::1]:5"],
        ),
        ('"10.0.0.1"', ["10.0.0.1:5"]),
        ("'10.0.0.1' \"[fd00::1]:7\"\r\n", ["10.0.0.1:5", "[fd00::1]:7"]),
        ("10.0.0.1, 10.0.0.2;", ["10.0.0.1:5", "10.0.0.2:5"]),
        ("10.0.0.1 10.0.0.1", ["10.0.0.1:5"]),
        (
            '["10.0.0.1","fd00::1", "10.0.0.2:7"]\n',
            ["10.0.0.1:5", "[fd00::1]:5", "10.0.0.2:7"],
        ),
        ("[fd00::1]", ["[fd00::1]:5"]),
    ],
)
async def test_fault_125_addresses_as_commands_print_them(
    text: str, expected: list[str]
) -> None:
    """With whatever space between, in quotes, with commas."""
    assert expected == await printed(text)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("fe80::1%eth0", "an address with a zone does not work here"),
        ("nonsense", "server address 'nonsense': not an IP address"),
        ("10.0.0.300", "not an IP address"),
        ("10.0.0.1:99999", "the port must be 1 to 65535"),
        ("\x1b[2J\xff", r"x1b\[2J"),
        ("z" * 50_000, "zzz"),
    ],
    ids=["zone", "word", "number", "port", "code", "long"],
)
async def test_fault_125_a_bad_word_among_good_ones_is_left_out(
    word: str, said: str
) -> None:
    """Said in one line; alone it is an error."""
    argv = ("printf", "%s", f"10.0.0.1 {word} 10.0.0.2")
    found = await command.run(Command(argv, 5))
    assert ["10.0.0.1:5", "10.0.0.2:5"] == [each.endpoint for each in found.servers]
    (line,) = found.left_out
    assert line.startswith("exec=printf: left out server address ")
    assert line.isprintable()
    assert len(line) < 500
    with pytest.raises(ConsulError, match=f"it printed no addresses: .*{said}"):
        await command.run(Command(("printf", "%s", word), 5))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("no-such-command",), "exec=no-such-command: No such file"),
        (("/etc",), "exec=/etc: Permission denied"),
        (("a\0b",), r"exec=a\\x00b: ValueError: embedded null byte"),
        (("sh", "-c", "echo broken >&2; exit 3"), "exit code 3: broken"),
        (("sh", "-c", "kill -9 $$"), "exit code -9"),
        (("printf", r"\377"), "it printed no addresses"),
        (("true",), "it printed no addresses: it printed nothing"),
    ],
)
async def test_a_command_that_fails(argv: tuple[str, ...], said: str) -> None:
    """Said with its name and its own words."""
    with pytest.raises(ConsulError, match=said):
        await command.run(Command(argv, 8502))


@pytest.mark.parametrize(
    "script",
    [
        "yes 10.0.0.1",
        "head -c 150000000 /dev/zero",
        "yes 10.0.0.1 | head -c 65537",
        "yes 10.0.0.1 >&2",
    ],
)
async def test_fault_125_output_without_end_is_an_error(script: str) -> None:
    """Never a shorter list; what prints it is ended, and memory does not grow."""
    begun = time.monotonic()
    with pytest.raises(ConsulError, match=r"printed more than 64 KiB|not done within"):
        await command.run(shell(script), patience=1.0)
    assert time.monotonic() - begun < 5


async def test_fault_125_as_much_as_is_allowed_is_read_to_its_last_word() -> None:
    """Sixty-four KiB."""
    script = "yes 10.0.0.1 | head -c 65520; printf '\n10.0.0.222\n'"
    found = await command.run(shell(script))
    assert ["10.0.0.1:5", "10.0.0.222:5"] == [each.endpoint for each in found.servers]


async def test_fault_125_long_complaints_are_cut(tmp_path: Path) -> None:
    """And printable."""
    script = "head -c 1000000 /dev/zero | tr '\\0' '\\033' >&2; exit 1"
    with pytest.raises(ConsulError) as caught:
        await command.run(shell(script))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


async def test_fault_125_a_command_that_hangs_is_ended_with_its_children(
    tmp_path: Path,
) -> None:
    """All of its process group, and nothing is left of it."""
    mark, pid = tmp_path / "still there", tmp_path / "pid"
    script = f"echo $$ >{pid}; (sleep 1; touch '{mark}') & sleep 60"
    with pytest.raises(ConsulError, match="not done within"):
        await command.run(shell(script), patience=0.3)
    assert not Path("/proc", pid.read_text().strip()).exists()  # no zombie either
    task = asyncio.create_task(command.run(shell(script)))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path("/proc", pid.read_text().strip()).exists()
    await asyncio.sleep(1.2)
    assert not mark.exists()


async def test_what_a_command_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A process that holds the pipes, in a session of its own."""
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ >{pid}; exec sleep 60' & sleep 0.2; echo 10.0.0.1"
    begun = time.monotonic()
    found = await command.run(shell(script))
    assert 1 == len(found.servers)
    assert time.monotonic() - begun < 5
    os.kill(int(pid.read_text()), 9)


def replace(answer: Path, text: str) -> None:
    """Write a file in one step, so that the command never sees it empty."""
    new = answer.with_suffix(".new")
    new.write_text(text)
    new.replace(answer)


async def test_fault_125_the_last_list_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When the command comes to print nothing that is good."""
    answer = tmp_path / "answer"
    answer.write_text("10.0.0.1 odd 10.0.0.222")
    resolver = Resolver([f"exec=cat {answer}"], 5, 0.05)
    async with aclosing(ResolvingSource(resolver, 0.05).watch()) as watching:
        assert 2 == len(await anext(watching))
        listening = asyncio.ensure_future(anext(watching))
        for bad in ("", "odd", "10.0.0.22 " * 7000):
            replace(answer, bad)
            await asyncio.sleep(0.5)
            assert not listening.done()
        replace(answer, "10.0.0.3")
        (server,) = await listening
        assert "10.0.0.3:5" == server.endpoint
    assert 1 == caplog.text.count("left out server address 'odd'")
    for why in ("it printed nothing", "'odd': not an IP", "more than 64 KiB"):
        lines = [line for line in caplog.text.splitlines() if why in line]
        assert 1 == sum("keeping what is known" in line for line in lines), why
