"""`python -m consul_ebpf`, and the installed `consul-ebpf`."""

import signal

# Ctrl-C while modules are still being imported ends the process; it is no traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from consul_ebpf.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
