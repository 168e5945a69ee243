"""Which servers are in the pool, and in which state. Pure: it is given the time.

These are all the rules:

1. A newly listed server is not used before its first probe. If that succeeds, the
   server is ready, else it is failing.
2. `fall` failures in a row make a ready server failing; `rise` successes in a row make
   a failing server ready. A failure beyond doubt counts as `fall` of them.
3. A ready server becomes failing only while another ready server answers. If every
   probe fails at once, the fault is on this host, or there is nowhere better to go:
   nothing changes (panic).
4. An empty list changes nothing.
5. A server that left the list is draining: new connects go elsewhere. If more servers
   left at once than stayed, the list may be wrong: those that left keep their state for
   `shrink_grace` seconds, or until their probes fail.
6. A server drains only while a listed server is ready; until then it stays as it was.
7. A draining server is forgotten `dead_keep` seconds after its probes failed, and after
   `drain_keep` seconds in any case. If it is listed again before that, it is back as if
   it had never left.
8. A server is dead while its last `fall` probes failed and another server answers, so
   that the fault is not on this host.
9. A server that has known no leader for `leader_grace` seconds is failing as long as
   another server answers and knows one: it was cut off from its peers, and what it
   serves is getting old. It is not dead: connections to it stay.
"""

from collections.abc import Iterable
from dataclasses import replace

from consul_ebpf.model.values import (
    GRPC,
    MAX_SERVERS,
    PooledServer,
    Server,
    ServerState,
    Service,
)
from consul_ebpf.servers.members import Departure, Member, Members, Rules


def with_list(
    members: Members, servers: Iterable[Server], now: float, rules: Rules
) -> Members:
    """Return the members after the source's new list."""
    listed = {server.id: server for server in servers}
    if not listed:
        return members
    members = _renamed(members, listed.values())
    were_listed = {id_ for id_, member in members.items() if member.gone is None}
    leaving = were_listed - listed.keys()
    staying = were_listed & listed.keys()
    grace = rules.shrink_grace if len(leaving) > len(staying) else 0.0
    departure = Departure(left=now, drains=now + grace)
    after = {
        id_: replace(member, gone=member.gone or departure)
        for id_, member in members.items()
        if id_ not in listed
    }
    for id_, server in listed.items():
        after[id_] = _listed(members.get(id_), server)
    return settled(after, now, rules)


def _renamed(members: Members, servers: Iterable[Server]) -> Members:
    """Give each member the id that the list has for its endpoint.

    A member may have another id: one read from the kernel's table has none of Consul's,
    and a server that was rebuilt at the same address has a new one.
    """
    listed = list(servers)
    kept = {server.id for server in listed}
    there = {_endpoints(m.server): id_ for id_, m in members.items() if id_ not in kept}
    after = dict(members)
    for server in listed:
        old = there.get(_endpoints(server))
        if old is None:
            continue
        known, mine = after.pop(old), after.get(server.id)
        if mine is None or _endpoints(mine.server) != _endpoints(server):
            after[server.id] = replace(known, server=server)
    return after


def _listed(member: Member | None, server: Server) -> Member:
    if member is None:
        return Member(server)
    if _endpoints(member.server) == _endpoints(server):
        return replace(member, server=server, gone=None)
    # It moved: its state stands until probes of the new address say otherwise.
    return Member(server, up=member.up)


def _endpoints(server: Server) -> tuple[object, ...]:
    return (server.ipv4, server.ipv6, server.port)


def with_verdict(
    members: Members,
    server: Server,
    alive: bool,
    now: float,
    rules: Rules,
    *,
    leader: bool | None = None,
    sure: bool = False,
) -> Members:
    """Return the members after one probe; `sure` failures are beyond doubt.

    A probe of a server that has moved or gone meanwhile changes nothing.
    """
    member = members.get(server.id)
    if member is None or _endpoints(member.server) != _endpoints(server):
        return members
    sign = 1 if alive else -1
    streak = member.streak + sign if member.streak * sign > 0 else sign
    if sure and not alive:
        streak = min(streak, -rules.fall)
    up = member.up
    if up is None:
        up = alive
    elif streak >= rules.rise:
        up = True
    if not alive:
        leader = member.leader  # it did not say
    lost = min(member.lost, now) if leader is False else float("inf")
    member = replace(member, streak=streak, up=up, leader=leader, lost=lost)
    after = {**members, server.id: member}
    return settled(after, now, rules)


def settled(members: Members, now: float, rules: Rules) -> Members:
    """Apply the rules that need no new probe: who becomes failing, who is forgotten."""
    after = dict(members)
    if any(member.answers for member in after.values()):
        for id_ in _overdue(after, rules):
            after[id_] = replace(after[id_], up=False, fell=now)
    elsewhere = _listed_ready(after)
    return {
        id_: member
        for id_, member in after.items()
        if member.gone is None
        or (member.up and not elsewhere)
        or (member.up and now < member.gone.left + rules.drain_keep)
        or (member.up is False and now < member.fell + rules.dead_keep)
    }


def leaderless(members: Members, now: float, rules: Rules) -> frozenset[str]:
    """Return the ids of the servers that rule 9 makes failing."""
    led = (each.answers and each.leader and not each.gone for each in members.values())
    if not any(led):
        return frozenset()
    return frozenset(
        id_ for id_, each in members.items() if now >= each.lost + rules.leader_grace
    )


def panicking(members: Members, rules: Rules) -> bool:
    """Whether servers stay ready only because none answers."""
    return bool(_overdue(members, rules))


def _overdue(members: Members, rules: Rules) -> list[str]:
    return [id_ for id_, m in members.items() if m.up and m.streak <= -rules.fall]


def _listed_ready(members: Members) -> bool:
    return any(m.up and m.gone is None for m in members.values())


def pooled(
    members: Members, now: float, rules: Rules, service: Service = GRPC
) -> tuple[PooledServer, ...]:
    """Return the probed members with their states, sorted by id; at most `MAX_SERVERS`.

    Where there are more, ready ones come before failing and draining ones.
    """
    elsewhere = _listed_ready(members)
    lost = leaderless(members, now, rules)
    seen = any(member.answers for member in members.values())
    silent = frozenset(_overdue(members, rules))
    states = [
        PooledServer(
            member.server,
            (
                ServerState.FAILING
                if id_ in lost
                else _state(member, now, elsewhere=elsewhere)
            ),
            dead=seen and not member.up and member.streak <= -rules.fall,
            silent=id_ in silent,
            service=service,
        )
        for id_, member in members.items()
        if member.up is not None
    ]
    order = (ServerState.READY, ServerState.FAILING, ServerState.DRAINING)
    states.sort(key=lambda p: (order.index(p.state), p.server.id))
    return tuple(sorted(states[:MAX_SERVERS], key=lambda p: p.server.id))


def _state(member: Member, now: float, *, elsewhere: bool) -> ServerState:
    if not member.up:
        return ServerState.FAILING
    if member.gone is not None and elsewhere and now >= member.gone.drains:
        return ServerState.DRAINING
    return ServerState.READY
