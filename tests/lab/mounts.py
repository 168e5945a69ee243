"""Commands that see other files than the host's, in a mount namespace of their own."""

import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path


def seeing(files: Mapping[str, str], directory: Path) -> list[str]:
    """Return what is put before a command that is to see these files.

    They are written below `directory`. Whatever there is at their paths is covered for
    the command alone; below /run, which is empty for it then, they need not exist.
    """
    if not files:
        return []
    script = []
    if any(path.startswith("/run/") for path in files):
        script.append("mount -t tmpfs tmpfs /run")
    for path, text in files.items():
        source = directory / f"{Path(path).name}-{secrets.token_hex(4)}"
        source.write_text(text)
        there, here = shlex.quote(path), shlex.quote(str(source))
        if path.startswith("/run/"):
            script.append(f"mkdir -p $(dirname {there}) && cp {here} {there}")
        else:
            script.append(f"mount --bind {here} {there}")
    script.append('exec "$@"')
    private = ["unshare", "--mount", "--propagation", "private", "--"]
    return [*private, "sh", "-c", " && ".join(script), "sh"]
