import copy
import pickle
from ipaddress import IPv4Address, IPv6Address

import pytest

from consul_ebpf.model.values import Vip


def test_it_tells_what_it_is_made_of_and_so_does_a_copy() -> None:
    for ipv6, literal in ((False, "127.64.0.1"), (True, "::ffff:127.64.0.1")):
        vip = Vip(IPv4Address("127.64.0.1"), 8502, ipv6)
        for each in (vip, copy.deepcopy(vip), pickle.loads(pickle.dumps(vip))):
            assert each == vip
            assert (each.address, each.port) == (IPv4Address("127.64.0.1"), 8502)
            assert (each.ipv6, each.literal) == (ipv6, literal)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        (IPv6Address("::ffff:127.64.0.1"), 8502),
        (1 << 32, 8502),
        (-1, 8502),
        (IPv4Address("127.64.0.1"), 1 << 16),
        (IPv4Address("127.64.0.1"), -1),
    ],
)
def test_what_is_no_address_or_port_is_refused(
    address: IPv4Address | int, port: int
) -> None:
    """It would be another VIP, since both are in one number."""
    with pytest.raises(ValueError, match=r"is no IPv4 address|between 0 and 65535"):
        Vip(address, port)
