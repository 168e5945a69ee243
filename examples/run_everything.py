"""All that the `run` command does, from its configuration file.

    sudo python examples/run_everything.py /etc/consul-ebpf.toml

Prints what each change came to. What it programmed goes on redirecting when it ends.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from consul_ebpf.config.load import load
from consul_ebpf.wiring.host import build_runner, open_backend


def serve(path: Path) -> None:
    """Serve the proxies of the configuration at `path` until interrupted."""
    config = load(path, os.environ)
    with open_backend(config) as backend, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(build_runner(config, backend).run(print))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
