"""The shell script that waits for Envoy's bootstrap, alone or behind another. Pure."""

import re

from consul_ebpf.kubernetes.webhook.pod import Container
from consul_ebpf.kubernetes.webhook.reasons import Reason, SkipError

BOOTSTRAP = "bootstrap.json"
WAITING = "waiting"
"""The file in the volume that says in one line what is missing."""

# No $(…): kubelet would take it for a variable. TERM: a shell that is process 1 has to
# ask for it, or a pod that is deleted while it waits would stay for its grace period.
_LOOP = f"""\
trap 'exit 143' TERM
said=
until [ -s "{{mount}}/{BOOTSTRAP}" ]; do
  now=`cat "{{mount}}/{WAITING}" 2>/dev/null || true`
  if [ -n "$now" ] && [ "$now" != "$said" ]; then echo "consul-ebpf: $now"; fi
  said="$now"
  sleep 0.2 || sleep 1
done
"""

_SHELLS = {"sh", "ash", "bash", "dash"}
_is_flag = re.compile(r"-[a-z]+").fullmatch
_RUNS_SCRIPT = re.compile(r"-[a-z]*c")
_LEADING_EXEC = re.compile(r"\A\s*exec\s+")
_ENDS = re.compile(r"(?<![\w-])(exec|exit)(?![\w-])")
"""The commands after which a shell runs nothing any more; not so in parentheses."""

_BLANKS = " \t\r\n\\"
"""At the end of consul-k8s's script: the continuation of a line that does not come."""

_PATH = re.compile(r"/[A-Za-z0-9._/-]+")


def loop(mount: str) -> str:
    """Return the script that ends once the bootstrap is in the volume.

    It prints what is missing, whenever that changes.
    """
    if not _PATH.fullmatch(mount):
        raise SkipError(Reason.VOLUME, "the volume's path is no plain one")
    return _LOOP.format(mount=mount)


def script_of(container: Container) -> str | None:
    """Return the script that a container runs by a shell; None: it does not.

    It is the last word of all.
    """
    match (*(container.command or ()), *(container.args or ())):
        case (program, *flags, flag, script) if container.command:
            shell = program.rpartition("/")[2] in _SHELLS
            if shell and _RUNS_SCRIPT.fullmatch(flag) and all(map(_is_flag, flags)):
                return str(script)
    return None


def followed_by(script: str, mount: str) -> str:
    """Return a script that runs `script`, and then waits for the bootstrap.

    A shell that runs it with `-e` does not wait where `script` fails.
    """
    before = _LEADING_EXEC.sub("", script).rstrip(_BLANKS)
    if _ENDS.search(before):
        before = f"(\n{before}\n)"
    return f"{before}\n{loop(mount)}"
