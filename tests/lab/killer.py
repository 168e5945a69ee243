"""Run a command and SIGKILL it at its n-th step: `python -m tests.lab.killer N ...`.

    N = 0: let it run, and write each step's name to standard error
    ...:   a module of this project and its arguments, as after `python -m`

A step is an audit event (consul_ebpf/base/steps.py); what is run here knows nothing of
it.
"""

import os
import runpy
import signal
import sys

STEP = "consul_ebpf.step"


def main() -> None:
    """Install the hook, then become the command."""
    number, module, *arguments = sys.argv[1:]
    last, done = int(number), 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal done
        if event != STEP:
            return
        done += 1
        if not last:
            print(f"step {done}: {args[0]}", file=sys.stderr, flush=True)
        elif done == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
