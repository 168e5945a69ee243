"""How many instructions each program has: what a run costs, on however busy a machine.

The bounds leave room for other versions of clang and of the verifier: half as much
again as there was, and twice as much for the verifier.
"""

import pytest

from consul_ebpf.kernel.program import CONNECT, DNS
from tests.kernel.conftest import Kernel
from tests.kernel.dns_lab import open_dns
from tests.lab.instructions import Code

pytestmark = pytest.mark.kernel

MOST: dict[str, dict[str, tuple[int, int]]] = {
    CONNECT.name: {"connect4": (480, 1400), "connect6": (520, 1400)},
    DNS.name: {
        "connect4": (4200, 700_000),
        "connect6": (4300, 700_000),
        "sendmsg4": (3200, 200_000),
        "recvmsg4": (310, 1400),
        "recvmsg6": (350, 1400),
        "getpeername4": (215, 600),
        "getpeername6": (255, 600),
    },
}
"""By program and hook: its instructions, and how many the verifier goes through; it
stops at a million, and says so since Linux 5.16."""
BYSTANDER = 11
"""Instructions of a call to elsewhere; the first comparison has to let it go."""


def test_programs_are_short(kernel: Kernel) -> None:
    """None has grown, and a bystander's way through each is short, without a call."""
    with kernel.open(), open_dns(kernel) as dns:
        for program in (CONNECT, DNS):
            for hook in program.hooks:
                code = Code.of(kernel.bpffs, program, hook)
                way = code.shortest()
                calls = [each for each in way if each.is_call]
                sizes = len(code.instructions), code.verified
                print(program.name, hook, *sizes, len(way))
                most = MOST[program.name][hook]
                assert (hook, sizes[0] <= most[0], sizes[1] <= most[1]) == (
                    hook,
                    True,
                    True,
                )
                assert (hook, calls, len(way) <= BYSTANDER) == (hook, [], True)
        dns.detach()


def test_a_cookie_keeps_its_64_bits(kernel: Kernel) -> None:
    """BCC declares the helper with 32; after so many sockets none would be found."""
    with kernel.open():
        code = Code.of(kernel.bpffs, CONNECT, "connect4").instructions
        cut = [(0x67, 32), (0x77, 32)]  # to the left, and back
        pairs = [
            [(e.code, e.number) for e in code[i : i + 2]] for i in range(len(code))
        ]
        assert cut not in pairs
