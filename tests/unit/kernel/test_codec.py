"""The bytes of the tables, and the cursor's rules."""

import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_ebpf import Binding, Server, ServerState, SlottedServer, Vip
from consul_ebpf.kernel import btf, codec
from consul_ebpf.kernel.program import CONNECT, DNS

PORTS = st.integers(1, 65535)
FOUR = st.integers(1, 2**32 - 1).map(IPv4Address)
SIX = st.integers(1, 2**128 - 1).map(IPv6Address)
SLOTS = st.integers(0, 254)
PREFERENCES = st.lists(SLOTS, max_size=8, unique=True).map(tuple)


@given(SLOTS, st.sampled_from(ServerState), PORTS, FOUR | st.none(), SIX | st.none())
def test_a_row_is_read_back(
    slot: int,
    state: ServerState,
    port: int,
    four: IPv4Address | None,
    six: IPv6Address | None,
) -> None:
    """Any server with an address; one without is no row."""
    entry = SlottedServer(slot, Server(f"slot {slot}", port, four, six), state)
    decoded = codec.decode_server(slot, codec.encode_server(entry))
    assert decoded == (entry if four or six else None)


def test_a_row_is_in_network_byte_order() -> None:
    """Byte by byte as bpf/tables.h has it, on any machine."""
    server = Server("x", 8502, IPv4Address("10.1.2.3"), IPv6Address("fd00::1"))
    entry = SlottedServer(5, server, ServerState.READY)
    head = bytes.fromhex("fd00" + "00" * 13 + "01" + "0a010203" + "2136" + "01" + "00")
    assert codec.encode_server(entry) == head + bytes(8)


def test_a_row_being_filled_is_not_in_use() -> None:
    """It has the address, and no reader takes it."""
    entry = SlottedServer(0, Server.at("10.0.0.1", 1), ServerState.READY)
    data = codec.encode_server(entry, empty=True)
    assert codec.decode_server(0, data) is None
    assert codec.encode_server(entry)[:22] == data[:22]


def test_a_rows_counters_are_kept() -> None:
    """A new state does not touch what was counted."""
    entry = SlottedServer(0, Server.at("10.0.0.1", 1), ServerState.FAILING)
    head = codec.SERVER.unpack(codec.encode_server(entry))[:4]
    have = codec.SERVER.pack(*head, 7, 2)
    assert codec.decode_counters(codec.encode_server(entry, have)).connects == 7


@given(FOUR, PORTS)
def test_a_key_is_read_back(address: IPv4Address, port: int) -> None:
    """Address and port; which family asks is not part of it."""
    assert codec.decode_key(codec.encode_key(Vip(address, port))) == Vip(address, port)
    mapped = Vip(address, port, ipv6=True)
    assert codec.encode_key(mapped) == codec.encode_key(Vip(address, port))


def test_a_key_is_in_network_byte_order() -> None:
    """127.64.0.1:8502 as it is on the wire."""
    key = codec.encode_key(Vip(IPv4Address("127.64.0.1"), 8502))
    assert key == bytes.fromhex("7f400001" + "2136" + "0000")


def packed(*numbers: int) -> bytes:
    """A VIP's row that is not bound; a number for each field up to the ring's."""
    return codec.VIP.pack(*numbers, 0, 0, 0, 9)


@given(PREFERENCES)
def test_a_preference_is_read_back(preference: tuple[int, ...]) -> None:
    """From none to eight slots."""
    data = codec.encode_vip(preference)
    assert codec.decode_preference(data) == preference
    assert codec.decode_vip_counters(data).connects == 0


def used(preference: tuple[int, ...], cursor: int) -> bytes:
    """Return a VIP's entry after three connects, the newest at `cursor`."""
    first = codec.VIP.unpack(codec.encode_vip(preference))[0]
    return packed(first, 99, 3, cursor, 7 * 256 + 2, 0, 0, 0)


def test_the_cursor_stays_with_the_server_in_use() -> None:
    """When only later choices change, at whatever place it now is."""
    data = codec.encode_vip((1, 5, 4, 2), used((1, 2, 3), 1))
    _, last, connects, cursor, *_ = codec.VIP.unpack(data)
    assert (last, connects, cursor) == (99, 3, 3)
    assert codec.decode_vip_counters(data).sockets == ((7, 2),)


def test_a_new_first_choice_is_begun_with() -> None:
    """And the next connect is no retry of the last."""
    data = codec.encode_vip((2, 1, 3), used((1, 2, 3), 1))
    _, last, connects, cursor, *_ = codec.VIP.unpack(data)
    assert (last, connects, cursor) == (0, 3, 0)


def test_the_first_choice_is_begun_with_when_the_server_in_use_is_gone() -> None:
    """A cursor never points at a slot by accident."""
    data = codec.encode_vip((1, 4), used((1, 2, 3), 1))
    assert codec.VIP.unpack(data)[1:4] == (0, 3, 0)


def test_a_new_preference_does_not_say_where_the_newest_connect_went() -> None:
    """That connection is still open there, until the next one."""
    data = codec.encode_vip((4, 1), used((1, 2, 3), 1))
    ring = packed(*codec.VIP.unpack(data)[:4], 0, 0, 7 * 256 + 2, 0)
    assert codec.decode_vip_counters(ring).current == 2
    assert codec.decode_vip_counters(codec.encode_vip((4, 1))).current is None


def test_the_moment_of_the_newest_connect_is_monotonic_time() -> None:
    """The kernel's jiffies begin five minutes before their overflow."""
    tick = time.clock_getres(6)
    boot = 2**32 - round(300 / tick)
    moments = [
        codec.decode_vip_counters(packed(9, last, 1, 0, 0, 0, 0, 0))
        for last in (0, boot + 250)
    ]
    assert [0.0, 250 * tick] == [each.newest for each in moments]


def test_the_newest_sockets_are_a_ring_by_connects() -> None:
    """The fifth connect took the place of the first."""
    sockets = (1004 * 256 + 9, 1001 * 256 + 5, 1002 * 256 + 5, 1003 * 256 + 5)
    counters = codec.decode_vip_counters(packed(9, 99, 5, 0, *sockets))
    assert (5, 9) == (counters.connects, counters.current)
    assert {1004, 1001, 1002, 1003} == {cookie for cookie, _ in counters.sockets}


@pytest.mark.parametrize(
    ("state", "number"),
    [
        (ServerState.READY, 1),
        (ServerState.FAILING, 2),
        (ServerState.DRAINING, 3),
    ],
)
def test_states_have_the_programs_numbers(state: ServerState, number: int) -> None:
    """enum server_state in bpf/tables.h: only READY is connected to."""
    entry = SlottedServer(0, Server.at("10.0.0.1", 1), state)
    assert number == codec.encode_server(entry)[22]


def test_a_retry_window_is_given_in_jiffies() -> None:
    """Whole ones, from the kernel's own length of a jiffy."""
    network = IPv4Network("127.64.0.0/10")
    one = codec.defines(network, 8502, 1.0, 10)["RETRY_WINDOW"]
    assert one in range(90, 1301)  # CONFIG_HZ is 100 to 1300
    assert codec.defines(network, 8502, 35.0, 10)["RETRY_WINDOW"] == 35 * one


def test_bounds_are_those_of_the_program() -> None:
    """A number that two files have is the same in both."""
    text = CONNECT.source.with_name("tables.h").read_text(encoding="utf-8")
    for name, value in (("SLOTS", codec.SLOTS), ("RECENT", codec.RECENT)):
        assert f"#define {name} {value} " in text
    assert "#define NO_SLOT 0xff" in text
    assert codec.NO_SLOT == 0xFF
    assert Path(CONNECT.source).is_file()
    text = DNS.source.read_text(encoding="utf-8")
    for name in ("MAX_CGROUPS", "MAX_ASKERS", "MAX_CONNECTED"):
        assert f"#define {name} {getattr(codec, name)}\n" in text


def test_rows_of_dns_have_the_programs_sizes() -> None:
    """Padded as a C compiler does."""
    assert (codec.CGROUP.size, codec.ASKER.size, codec.ASKED.size) == (16, 36, 264)


def test_a_servers_time_to_answer_is_an_even_number_of_jiffies() -> None:
    """An odd moment less that is an odd moment: never zero, which means none."""
    said = codec.dns_defines(Vip(IPv4Address("127.64.0.53"), 53), 8600, limited=True)
    assert said["QUIET"] > 0
    assert [said[name] % 2 for name in ("QUIET", "PROBE", "FORGET")] == [0, 0, 0]
    assert said["LIMITED"] == 1
    assert said["SERVER_PORT"].to_bytes(2, sys.byteorder) == (8600).to_bytes(2, "big")


def test_types_of_a_table_say_how_large_its_values_are() -> None:
    """As the kernel counts: words."""
    blob = btf.types_of(264)
    assert blob[:2] == b"\x9f\xeb"[:: 1 if sys.byteorder == "little" else -1]
    assert (66).to_bytes(4, sys.byteorder) in blob


def test_a_binding_is_read_back_and_replaced() -> None:
    """It is not counted with the sockets, and a new one takes the old one's place."""
    bound = Binding(netns=2**63 + 5, cgroup=4711, level=3)
    data = codec.encode_vip((1, 2), None, bound)
    assert codec.decode_binding(data) == bound
    assert codec.decode_vip_counters(data).sockets == ()
    assert not codec.decode_binding(codec.encode_vip((1, 2), data))


@pytest.mark.parametrize("size", [64, 88, 96])
def test_a_row_of_another_layout_keeps_what_both_know(size: int) -> None:
    """Cut off at its end, or filled up with zeros."""
    row = used((1, 2, 3), 1)
    fitted = codec.fit(codec.fit(row, size), codec.VIP.size)
    assert fitted[:64] == row[:64]
    known = codec.decode_vip_counters(fitted)
    assert known == replace(
        codec.decode_vip_counters(row), failures=9 if size > 64 else 0
    )
    assert codec.decode_preference(fitted) == (1, 2, 3)
