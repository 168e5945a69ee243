"""The controller under test, run as its users run it."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.lab.held import Held
from tests.lab.processes import Child, LabError, wait_until
from tests.lab.scratch import Netns, scratch_directory

COMMAND = [sys.executable, "-m", "consul_ebpf"]


class ControllerProcess(Held):
    """`python -m consul_ebpf run` on a configuration of its own.

    What it leaves in the kernel stays, as in life: give it a scratch cgroup and a
    scratch bpffs, which take it with them, or call `detach`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        netns: Netns | None = None,
        args: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare; entering starts it, leaving kills it.

        Args:
            config: the TOML file's tables; `[bootstrap] directory` is filled in
                with a temporary one if missing.
            netns: where to run.
            args: more arguments for `run`.
            before: a command that becomes the controller's, such as `setpriv`.
            env: for its first start, as of `start`.
        """
        self._given = config
        self._netns = netns
        self._args = args
        self._before = before
        self._env = env

    def hold(self, stack: ExitStack) -> None:
        """Start it and wait for its ready line."""
        self._directory = stack.enter_context(scratch_directory())
        bootstraps = {"directory": str(self._directory / "run")}
        self._config = {
            **self._given,
            "bootstrap": {**bootstraps, **self._given.get("bootstrap", {})},
        }
        self._file = self._directory / "config.toml"
        self.configure(self._config)
        self.start(env=self._env)
        stack.callback(self.kill)

    @property
    def bootstraps(self) -> Path:
        """Where it writes `<proxy id>/bootstrap.json`."""
        return Path(self._config["bootstrap"]["directory"])

    @property
    def arguments(self) -> list[str]:
        """What a command needs to find its configuration."""
        return ["--config", str(self._file)]

    def bootstrap(self, proxy: str, timeout: float = 10.0) -> Path:
        """Wait for a proxy's bootstrap and return its path."""
        path = self.bootstraps / proxy / "bootstrap.json"
        wait_until(path.exists, f"bootstrap of {proxy}", timeout)
        return path

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration file; a running controller does not look."""
        self._file.write_text(toml(config))

    def start(
        self, timeout: float = 60.0, env: Mapping[str, str] | None = None
    ) -> None:
        """Start it (again) and wait for its ready line.

        `env` is put on top of our own: another version's, from `versions.py`.
        """
        argv = [*self._before, *COMMAND, "run"]
        argv += ["--config", str(self._file), *self._args]
        said = self._directory / "controller.stdout"
        before = said.stat().st_size if said.exists() else 0
        self.child = Child(
            "controller", argv, self._directory, netns=self._netns, env=env
        )

        def ready() -> bool:
            self.child.must_run()
            return b"ready" in said.read_bytes()[before:]

        try:
            wait_until(ready, "controller ready", timeout)
        except BaseException as error:
            self.child.kill()
            if isinstance(error, LabError):
                error.add_note(self.child.last_words())
            raise

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()

    def terminate(self) -> int:
        """SIGTERM, wait for the end, return the exit code."""
        return self.child.terminate()

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.child.stderr.read_text()

    def status(self) -> dict[str, Any]:
        """Return what `status --json` prints; works with the controller dead."""
        answer = json.loads(self.run("status", "--json"))
        assert isinstance(answer, dict)
        return answer

    def detach(self) -> None:
        """Run `detach`."""
        self.run("detach")

    def run(self, *args: str) -> str:
        """Run another of its commands on this configuration; return what it prints.

        Raises:
            LabError: the command failed; its last words are in the message.
        """
        enter = self._netns.enter if self._netns else []
        command, *rest = args
        done = subprocess.run(
            [*enter, *COMMAND, command, "--config", str(self._file), *rest],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise LabError(f"{' '.join(args)} ended with {done.returncode}: {words}")
        return done.stdout


def toml(config: Mapping[str, Any]) -> str:
    """Write the TOML of a configuration: JSON's scalars and lists, tables inline."""
    text = "".join(f"{key} = {_value(value)}\n" for key, value in config.items())
    assert tomllib.loads(text) == config
    return text


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)
