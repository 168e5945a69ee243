"""Build any version of Consul, each into a file of its own in the cache.

`python -m tests.lab.consul_versions 1.20.6` builds that one if needed and says where
it is. The version that all other tests use has its modules pinned in `consul-binary`;
for any other a module is made here, and Go's checksum database vouches for it.
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.lab.go_build import PartMissingError, Say, require_go
from tests.lab.parts import CONSUL, build_cached

# As every go.mod of Consul's has it: these two were retracted.
MODULE = """\
module consul-tool

go 1.21

exclude github.com/hashicorp/go-msgpack v1.1.5

exclude github.com/hashicorp/go-msgpack v1.1.6
"""

# A release is built of the modules in its own tree, of which its go.mod does not say
# the version; a build from outside takes published ones. Where those that go.mod asks
# for lack something, or are not to be had, these fit.
REPLACED = {
    "1.18.2": {
        "envoyextensions": "v0.5.1",
        "proto-public": "v0.6.1",
        "troubleshoot": "v0.7.1",
    },
    "1.21.5": {
        "envoyextensions": "v0.9.6",
        "sdk": "v0.16.3",
        "troubleshoot": "v0.8.7",
    },
}


def ensure_version(version: str, say: Say = print) -> Path:
    """Find this very version in the cache, or build it.

    Raises:
        PartMissingError: there is no such version, no usable Go, or no build of it.
    """
    program = replace(CONSUL, version=version)
    if version == CONSUL.version or program.cached.exists():
        return build_cached(program, say)
    with tempfile.TemporaryDirectory() as folder:
        _write_module(Path(folder), version)
        return build_cached(replace(program, module=Path(folder)), say)


def _write_module(folder: Path, version: str) -> None:
    lines = [
        f"replace {CONSUL.package}/{name} => {CONSUL.package}/{name} {fits}\n"
        for name, fits in REPLACED.get(version, {}).items()
    ]
    (folder / "go.mod").write_text("\n".join([MODULE, *lines]))
    go = require_go(CONSUL.name, CONSUL.variable)
    got = subprocess.run(
        [go, "get", f"{CONSUL.package}@v{version}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode:
        words = " | ".join(got.stderr.strip().splitlines()[-3:])
        raise PartMissingError(f"Consul {version} is not to be had: {words}")


if __name__ == "__main__":
    try:
        asked = sys.argv[1]
        print(f"Consul: {ensure_version(asked, partial(print, flush=True))}")
    except PartMissingError as error:
        sys.exit(str(error))
