"""The bytes of the tables: mirrors bpf/tables.h and the structs of bpf/dns.c.

Addresses and ports are in network byte order in the kernel; here they are bytes or
numbers as people write them. All functions are pure.
"""

import functools
import struct
import sys
import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from consul_ebpf.model.values import (
    MAX_CHOICES,
    Binding,
    Preference,
    Server,
    ServerCounters,
    ServerState,
    SlottedServer,
    Vip,
    VipCounters,
)

LAYOUT = 2
"""Raised with every change of a struct in bpf/tables.h; part of the pins' path."""
DNS_LAYOUT = 1
"""The DNS program's: raised with a change of a struct in bpf/dns.c or bpf/tables.h."""

SLOTS = 256
NO_SLOT = 0xFF
RECENT = 4
MAX_CGROUPS = 16
MAX_ASKERS = 16384
MAX_CONNECTED = 16384

SERVER = struct.Struct("=16s4s2sBxII")  # struct server
VIP_KEY = struct.Struct("=4s2sxx")  # struct vip_key
VIP = struct.Struct(f"=QQQQ{RECENT}QQQII")  # struct vip
CGROUP = struct.Struct("=QQ")  # struct cgroup: id, level
HEARD = struct.Struct("=II")  # struct heard
CONNECTED = struct.Struct("=QQ")  # a socket's cookie, a slot
ASKER = struct.Struct(f"={MAX_CHOICES}IBBBx")  # struct asker
_QUERY = struct.Struct("=Q16s2sHI")  # struct query
ASKED = struct.Struct(f"=4s2sH{MAX_CHOICES * _QUERY.size}s")  # struct asked

_NO_IPV4, _NO_IPV6 = bytes(4), bytes(16)
_MAPPED_PREFIX = b"\x00\x00\xff\xff"
_COARSE_CLOCK = 6  # CLOCK_MONOTONIC_COARSE: its resolution is the length of a jiffy
_FIRST_SECONDS = -300  # the kernel's jiffies begin so long before they overflow 32 bits
_STATES = {ServerState.READY: 1, ServerState.FAILING: 2, ServerState.DRAINING: 3}
_STATE_OF = {number: state for state, number in _STATES.items()}

QUIET_SECONDS = 0.2
"""If a DNS server has not replied for so long, it is silent to those that asked it."""
PROBE_SECONDS = 5.0
"""How often one query of this host tests whether a silent server answers again."""
FORGET_SECONDS = 15.0
"""After so long, a thread asks a silent server again. It is longer than three tries of
5 s, resolvers' default, so that three tries reach three servers."""

EMPTY_SERVER = bytes(SERVER.size)
UNBOUND = Binding()


def fit(row: bytes, size: int) -> bytes:
    """Cut or fill a row of another layout to `size` bytes; rows grow at their end."""
    return row[:size].ljust(size, b"\0")


def _word(network_order: bytes) -> int:
    """Return four bytes of an address as the number that C code reads."""
    return int.from_bytes(network_order, sys.byteorder)


def _short(port: int) -> int:
    """Return a port as the number that C code reads."""
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)


def _jiffies(seconds: float) -> int:
    return round(seconds / time.clock_getres(_COARSE_CLOCK))


def _monotonic(jiffies: int) -> float:
    """Return a moment of `bpf_jiffies64` as `time.monotonic()`; 0 stays 0."""
    if not jiffies:
        return 0.0
    since_boot = jiffies - (_jiffies(_FIRST_SECONDS) & 0xFFFFFFFF)
    return max(since_boot, 1) * time.clock_getres(_COARSE_CLOCK)


def defines(
    network: IPv4Network, port: int, retry_window: float, max_vips: int
) -> dict[str, int]:
    """Return the constants for bpf/connect.c. `retry_window` is in seconds."""
    return {
        "VIP_NETWORK": _word(network.network_address.packed),
        "VIP_MASK": _word(network.netmask.packed),
        "VIP_PORT": _short(port),
        "MAPPED_PREFIX": _word(_MAPPED_PREFIX),
        "RETRY_WINDOW": _jiffies(retry_window),
        "MAX_VIPS": max_vips,
    }


def dns_defines(vip: Vip, server_port: int, *, limited: bool) -> dict[str, int]:
    """Return the constants for bpf/dns.c.

    `limited`: only processes in the cgroups of the `cgroups` table may ask.
    """
    return {
        "VIP_ADDRESS": _word(vip.address.packed),
        "VIP_PORT": _short(vip.port),
        "SERVER_PORT": _short(server_port),
        "MAPPED_PREFIX": _word(_MAPPED_PREFIX),
        # Even: an odd moment minus an even number is odd, and never zero.
        "QUIET": _jiffies(QUIET_SECONDS) // 2 * 2,
        "PROBE": _jiffies(PROBE_SECONDS) // 2 * 2,
        "FORGET": _jiffies(FORGET_SECONDS) // 2 * 2,
        "LIMITED": int(limited),
        "MAX_VIPS": 1,
    }


def encode_server(
    entry: SlottedServer, have: bytes | None = None, *, empty: bool = False
) -> bytes:
    """Encode a server's row, with the counters of the row `have` that it replaces.

    `empty`: the row has the address, but is not in use yet.
    """
    ipv4, ipv6, port = entry.endpoint
    counters = SERVER.unpack(have)[4:] if have else (0, 0)
    return SERVER.pack(
        ipv6.packed if ipv6 else _NO_IPV6,
        ipv4.packed if ipv4 else _NO_IPV4,
        port.to_bytes(2, "big"),
        0 if empty else _STATES[entry.state],
        *counters,
    )


def decode_server(slot: int, data: bytes) -> SlottedServer | None:
    """Decode a row; None if it is not in use. It holds neither id nor service."""
    ipv6, ipv4, port, number, _connects, _failures = SERVER.unpack(data)
    state = _STATE_OF.get(number)
    if state is None or (ipv6 == _NO_IPV6 and ipv4 == _NO_IPV4):
        return None
    server = Server(
        id=f"slot {slot}",
        port=int.from_bytes(port, "big"),
        ipv4=None if ipv4 == _NO_IPV4 else IPv4Address(ipv4),
        ipv6=None if ipv6 == _NO_IPV6 else IPv6Address(ipv6),
    )
    return SlottedServer(slot, server, state)


def decode_counters(data: bytes) -> ServerCounters:
    """Decode what the kernel counted in a row."""
    return ServerCounters(*SERVER.unpack(data)[4:])


def encode_key(vip: Vip) -> bytes:
    """Encode a VIP as the key of the `vips` table."""
    packed = vip.packed
    return VIP_KEY.pack(packed[:4], packed[4:])


def decode_key(data: bytes) -> Vip:
    """Decode a key of the `vips` table."""
    address, port = VIP_KEY.unpack(data)
    return Vip(int.from_bytes(address, "big"), int.from_bytes(port, "big"))


def encode_vip(
    preference: Preference, have: bytes | None = None, binding: Binding = UNBOUND
) -> bytes:
    """Encode a VIP's row, with the counters of the row `have` that it replaces.

    The cursor stays at the server in use. If the first choice has changed, the next
    connect goes to the new one instead.
    """
    padded = bytes([*preference, *[NO_SLOT] * (MAX_CHOICES - len(preference))])
    packed = int.from_bytes(padded, "little")
    bound = (binding.netns, binding.cgroup, binding.level)
    if have is None:
        return VIP.pack(packed, *[0] * (3 + RECENT), *bound, 0)
    old, last, connects, cursor, *more = VIP.unpack(have)
    before = old.to_bytes(MAX_CHOICES, "little")
    in_use = before[cursor % MAX_CHOICES]
    if before[0] == padded[0] and in_use in preference:
        cursor = preference.index(in_use)
    else:
        cursor, last = 0, 0
    return VIP.pack(packed, last, connects, cursor, *more[:RECENT], *bound, more[-1])


def staying(data: bytes) -> bytes:
    """Return a VIP's row whose next connect goes to the cursor, and not behind it."""
    preference, _last, *more = VIP.unpack(data)
    return VIP.pack(preference, 0, *more)


def decode_preference(data: bytes) -> Preference:
    """Decode the preference in a VIP's row."""
    return _preference(VIP.unpack(data)[0])


@functools.lru_cache(256)
def _preference(packed: int) -> Preference:
    """Return the preference; with few servers, most VIPs share one."""
    slots = packed.to_bytes(MAX_CHOICES, "little")
    return tuple(slot for slot in slots if slot != NO_SLOT)


def decode_binding(data: bytes) -> Binding:
    """Decode the namespace and cgroup that a VIP's row is bound to."""
    return Binding(*VIP.unpack(data)[4 + RECENT : -1])


def decode_vip_counters(data: bytes) -> VipCounters:
    """Decode what the kernel counted for a VIP."""
    _preference, last, connects, _cursor, *more = VIP.unpack(data)
    oldest = connects % RECENT
    recent = (more[:RECENT] * 2)[oldest : oldest + RECENT]
    # Not from the cursor, which a new preference may have put back to the first choice.
    newest = recent[-1]
    return VipCounters(
        connects=connects,
        current=newest % SLOTS if newest else None,
        sockets=tuple(divmod(socket, SLOTS) for socket in recent if socket),
        failures=more[-1],
        newest=_monotonic(last),
    )
