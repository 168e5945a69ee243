"""Compile and load the program with BCC, in a child that ends when it is done.

Run as `python -m consul_ebpf.kernel.loader_child` with a `Job` as JSON on standard
input, or `null` to be told BCC's version only; answers one JSON object on standard
output.
BCC maps LLVM (over 70 MB) into whoever
imports it and writes compile errors to descriptor 2: a child keeps both away from the
controller. Only the standard library and BCC are imported here, so that the child may
be another interpreter than the parent's: the one BCC was installed for.
"""

import ctypes
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from consul_ebpf.kernel import libbpf

PROG_TYPE_CGROUP_SOCK_ADDR = 18
_PR_SET_PDEATHSIG = 1
TABLES = ("servers", "vips")


@dataclasses.dataclass(frozen=True)
class Job:
    """What the child is to do.

    `tables` is the directory in bpffs where the tables are pinned that the program is
    to use; `programs` the one to pin the programs in, by their hooks' names.
    """

    source: str
    defines: dict[str, int]
    tables: str
    programs: str


def _compile(job: Job) -> Any:
    source = Path(job.source)
    os.environ["BCC_KERNEL_SOURCE"] = str(source.parent / "stub")
    import bcc  # noqa: PLC0415  # the one import of BCC, and only in this child

    flags = [f"-D{name}={value}ULL" for name, value in job.defines.items()]
    flags += [f'-DPIN_{name.upper()}="{job.tables}/{name}"' for name in TABLES]
    flags.append(f"-I{source.parent}")
    return bcc.BPF(text=source.read_text(encoding="utf-8"), cflags=flags)


def load(job: Job) -> None:
    """Compile, load both hooks' programs, pin them; what runs now is not touched."""
    module = _compile(job)
    for name, attach_type in libbpf.HOOKS.items():
        program = module.load_func(
            name, PROG_TYPE_CGROUP_SOCK_ADDR, attach_type=attach_type
        )
        libbpf.obj_pin(program.fd, Path(job.programs) / name)


def main() -> int:
    """Do the job on standard input; answer `{}`, or `{"kind", "errno", "message"}`."""
    # Whoever waits for us may be killed: then nobody is to pin anything.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    job = json.load(sys.stdin)
    answer: dict[str, Any] = {}
    try:
        if job is None:
            import bcc  # noqa: PLC0415

            answer = {"version": bcc.__version__}
        else:
            load(Job(**job))
    except ImportError as error:
        answer = {"kind": "import", "message": str(error)}
    except OSError as error:
        answer = {"kind": "system", "errno": error.errno, "message": str(error)}
    except Exception as error:  # noqa: BLE001  # BCC raises nothing narrower
        answer = {"kind": "bcc", "message": str(error)}
    json.dump(answer, sys.stdout)
    return 1 if "kind" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
