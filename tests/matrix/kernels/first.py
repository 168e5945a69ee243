"""`python -m tests.matrix.kernels.first`: compile DNS for the tests, whatever it takes.

Without KVM that is about as long as the loader waits.
"""

from consul_ebpf.kernel.codec import dns_defines
from consul_ebpf.kernel.loader import load_program
from consul_ebpf.kernel.program import DNS
from consul_ebpf.kernel.tables import close_tables, make_tables
from tests.kernel.dns_lab import DNS_VIP, PORT
from tests.lab.scratch import scratch_bpffs

COMPILE_SECONDS = 1800.0

for limited in (False, True):
    with scratch_bpffs() as bpffs:
        close_tables(make_tables(DNS, bpffs))
        constants = dns_defines(DNS_VIP, PORT, limited=limited)
        load_program(DNS, constants, bpffs, bpffs, seconds=COMPILE_SECONDS)
