"""Compile and load the program with BCC, in a child that ends when it is done.

Run as a script, with a job as JSON on standard input, or with `null` to ask for BCC's
version; it answers one JSON object on standard output. A job has these keys:

    source    path of the C source; the stub headers are beside it
    defines   constants that it is compiled with, by name
    hooks     numbers of the hooks (enum bpf_attach_type), by the functions' names
    tables    paths of the pins of the tables that it uses, by the tables' names
    programs  directory to pin the programs in, by their functions' names

BCC maps LLVM (over 70 MB) into the process that imports it, and writes compile errors
to descriptor 2: a child keeps both away from the controller. BCC is installed for the
distribution's Python, which may be as old as 3.6 even if the controller's is newer: so
this file imports nothing of ours, and runs on each of these versions.
"""

import ctypes
import json
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROG_TYPE_CGROUP_SOCK_ADDR = 18
PR_SET_PDEATHSIG = 1


def compile_source(job: "dict[str, Any]") -> "Any":
    """Compile the job's source; return BCC's module."""
    directory = os.path.dirname(job["source"])  # noqa: PTH120
    os.environ["BCC_KERNEL_SOURCE"] = os.path.join(directory, "stub")  # noqa: PTH118
    import bcc  # noqa: PLC0415  # the one import of BCC, and only in this child

    flags = ["-D{}={}ULL".format(*define) for define in job["defines"].items()]
    flags += [f'-DPIN_{n.upper()}="{p}"' for n, p in job["tables"].items()]
    flags.append("-I" + directory)
    with open(job["source"], encoding="utf-8") as source:  # noqa: PTH123
        return bcc.BPF(text=source.read(), cflags=flags)


def load(job: "dict[str, Any]") -> None:
    """Compile the source, load each hook's program, and pin it; attach nothing."""
    module = compile_source(job)
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name, attach_type in job["hooks"].items():
        program = module.load_func(
            name, PROG_TYPE_CGROUP_SOCK_ADDR, attach_type=attach_type
        )
        path = os.path.join(job["programs"], name)  # noqa: PTH118
        if libbpf.bpf_obj_pin(program.fd, os.fsencode(path)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, "pin " + path + ": " + os.strerror(number))


def main() -> int:
    """Do the job on standard input; answer `{}`, or `{"kind", "errno", "message"}`."""
    # If the parent is killed, this process must not pin anything any more.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    job = json.load(sys.stdin)
    answer = {}  # type: dict[str, Any]
    try:
        if job is None:
            import bcc  # noqa: PLC0415  # where it is missing, that is the answer

            answer = {"version": bcc.__version__}
        else:
            load(job)
    except ImportError as error:
        answer = {"kind": "import", "message": str(error)}
    except OSError as error:
        answer = {"kind": "system", "errno": error.errno, "message": str(error)}
    except Exception as error:  # noqa: BLE001  # BCC raises nothing narrower
        answer = {"kind": "bcc", "message": str(error)}
    json.dump(answer, sys.stdout)
    return 1 if "kind" in answer else 0


if __name__ == "__main__":
    # A script's own directory comes first, and ours has modules of common names.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path = [path for path in sys.path if os.path.abspath(path) != here]  # noqa: PTH100
    sys.exit(main())
