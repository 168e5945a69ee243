"""`python -m tests.matrix.kernels.versions`: what this guest is of, as JSON."""

import json
import platform

from consul_ebpf.kernel.loader import bcc_version

if __name__ == "__main__":
    # As in "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)".
    kernel = platform.version().rpartition("Debian ")[2].partition(" ")[0]
    bcc, python = bcc_version(), platform.python_version()
    print(json.dumps({"kernel": kernel, "bcc": bcc, "python": python}))
