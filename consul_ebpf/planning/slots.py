"""Gives each server a slot of the kernel's server table. Pure.

A server keeps its slot as long as it is in the pool, whatever its state. A freed slot
is given again as late as possible: whoever still reads the old server has finished by
then.

If a service is ready at no server of the pool, servers that were ready keep that state:
a controller that starts while no probe gets through must not undo what an earlier one
programmed.
"""

from collections.abc import Iterable, Mapping

from consul_ebpf.model.values import PooledServer, ServerState, SlottedServer

SLOT_COUNT = 255
"""Number of slots: 0 to 254; 255 means none."""


def assign_slots(
    pool: Iterable[PooledServer], last: Mapping[int, SlottedServer], newest: int = -1
) -> dict[int, SlottedServer]:
    """Give each member of the pool, a server and a service, a slot.

    Args:
        pool: at most `SLOT_COUNT` members; of two at one endpoint the first counts.
        last: the slots until now, of this process or read from the kernel.
        newest: the slot given last; the search for a free one begins after it.
    """
    held = {entry.endpoint: slot for slot, entry in last.items()}
    members = {member.endpoint: member for member in reversed(list(pool))}
    free = iter([slot for slot in _order(last, newest) if slot not in last])
    ready = {m.service for m in members.values() if m.state is ServerState.READY}
    assigned = {}
    for endpoint, member in reversed(members.items()):
        slot, state = held.get(endpoint), member.state
        if slot is None:
            slot = next(free, None)
        elif member.service not in ready:
            state = last[slot].state
        if slot is not None:
            assigned[slot] = SlottedServer(slot, member.server, state, member.service)
    return dict(sorted(assigned.items()))


def given_last(
    last: Mapping[int, SlottedServer], now: Mapping[int, SlottedServer], newest: int
) -> int:
    """Return the slot given last: the `newest` for the next `assign_slots`.

    Args:
        last: what was given to `assign_slots`.
        now: what it returned.
        newest: what was given to it, too.
    """
    given = [slot for slot in _order(last, newest) if slot in now and slot not in last]
    return given[-1] if given else newest


def _order(last: Mapping[int, SlottedServer], newest: int) -> list[int]:
    """Return all slots in the order in which they are given."""
    begin = newest + 1 if newest >= 0 else max(last, default=-1) + 1
    return [(begin + i) % SLOT_COUNT for i in range(SLOT_COUNT)]
