"""Load for the network peers: a client in C, compiled when it is needed.

A loop in Python would hide what is compared: it takes longer than a connect().
"""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.peers.peer import LISTEN_PORT, Peer, Target
from tests.lab.go_build import PartMissingError
from tests.lab.processes import LabError

SOURCE = Path(__file__).with_name("load.c")


def compile_load(directory: Path) -> Path:
    """Compile the client into a directory; return it.

    Raises:
        PartMissingError: there is no gcc.
    """
    if not (gcc := shutil.which("gcc")):
        raise PartMissingError("no gcc: apt-get install gcc")
    binary = directory / "load"
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run([gcc, *options, "-o", binary, SOURCE], check=True)
    return binary


class Load:
    """A running client, and the server that its connections end at."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self._name = name
        self._target: Target | None = None

    def ask(self, target: Target, what: str, *numbers: int) -> list[float]:
        """Have it measure something by connections to a target; see load.c.

        Raises:
            LabError: a connection failed, and the client with it.
        """
        if target != self._target:
            at = (target.family, target.address, target.port, target.spread)
            self._write("to", *at)
            self._target = target
        self._write(what, *numbers)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"the client of {self._name} ended: its words are above")
        return [float(word) for word in line.split()]

    def _write(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()


@contextmanager
def loading(
    client: Sequence[str | Path], peer: Peer, port: int = LISTEN_PORT
) -> Iterator[Load]:
    """Start a client where the peer's clients are, for as long as the block lasts.

    Its own server listens on `port`, where it has one.
    """
    join = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
    command = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", join]
    command += [str(peer.cgroup), *peer.netns.enter, *map(str, client), str(port)]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        stack.callback(process.kill)
        yield Load(process, peer.name)
