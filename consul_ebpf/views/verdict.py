"""Judges a host by its status: is it well, what is wrong, and what is to be done."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from consul_ebpf.controller.problems import About
from consul_ebpf.model.values import DNS_NAME, GRPC, host_port
from consul_ebpf.views.ailments import Ailment, Level, Verdict
from consul_ebpf.views.deaths import Left, deserted, left
from consul_ebpf.views.dns import DnsStatus
from consul_ebpf.views.pods import NodeStatus
from consul_ebpf.views.status import ProxyStatus, Status
from consul_ebpf.views.wording import listed

NAMED = 5
"""Proxies that one line names, at most."""

NEARLY_FULL = 0.9
"""Part of the table of VIPs from which on it is said."""

LOOK_AT_LOG = "look at its log: journalctl -u consul-ebpf"


def judged(status: Status) -> Status:
    """Return a status with the verdict on it. Pure."""
    return replace(status, verdict=judge(status))


def judge(status: Status) -> Verdict:
    """Return what to make of a status. Pure."""
    found = [
        *_attached(status),
        *_servers(status),
        *_lost_servers(status),
        *_deserted(status),
        *_controller(status),
        *_missing(status),
        *_problems(status),
        *_connections(status),
        *_room(status),
        *(_dns(status.dns, status.silent.get(DNS_NAME, 0.0)) if status.dns else ()),
        *(_node(status.kubernetes) if status.kubernetes else ()),
    ]
    worst_first = sorted(found, key=lambda each: each.level is not Level.FAILING)
    level = worst_first[0].level if worst_first else Level.OK
    return Verdict(level, _summary(status), worst_first)


def _summary(status: Status) -> str:
    servers, proxies = status.servers, status.proxies
    ready = sum(each.state == "ready" for each in servers)
    connected = sum(each.active for each in proxies)
    controller = status.controller
    runs = f"controller pid {controller.pid}" if controller.running else "no controller"
    known = len(servers) + len(status.lost)
    silent = GRPC.name in status.silent
    answering, word = (0, "answer") if silent else (ready, "ready")
    return (
        f"{answering} of {known} servers {word},"
        f" {connected} of {len(proxies)} proxies connected, {runs}"
    )


def _attached(status: Status) -> Iterator[Ailment]:
    if status.kernel.attached:
        return
    what = "the programs are not attached: no Envoy can connect to its VIP"
    do = "start the controller: systemctl start consul-ebpf"
    if status.controller.running:
        do = f"the controller attaches them again within 5 s; if not, {LOOK_AT_LOG}"
    yield Ailment(Level.FAILING, what, do)


def _servers(status: Status) -> Iterator[Ailment]:
    servers = status.servers
    if not servers:
        what = "no Consul server is known: no Envoy can connect"
        do = "consul-ebpf doctor says whether Consul answers from here"
        yield Ailment(Level.FAILING, what, do)
        return
    ready = [each for each in servers if each.state == "ready"]
    others = bool(ready) and GRPC.name not in status.silent
    if since := status.silent.get(GRPC.name):
        what = f"no Consul server answers this host; {len(ready)} did before"
        means = "no Envoy can connect; the kernel tries them all in turn"
        do = (
            "look at Consul on them, then at this host's network; consul-ebpf doctor"
            " says what each answers"
        )
        yield Ailment(Level.FAILING, what, do, since, means)
    if not ready:
        what = "no Consul server is ready: connects of Envoys are refused"
        do = "consul-ebpf doctor says what each server answers"
        yield Ailment(Level.FAILING, what, do)
    for each in servers:
        if each.state != "failing":
            continue
        where = host_port(each.address, each.port)
        what, means = f"server {where} does not answer", ""
        if others and not each.active:
            gone = left(status.timeline, where, each.since)
            means = _went(status, gone) or "no proxy is on it, they use the others"
        elif each.active:
            means = f"connections to it are still open: {each.active}"
        do = (
            f"look at Consul on {each.address}: does it run, does it know a leader, can"
            f" this host reach port {each.port}? (consul-ebpf doctor)"
        )
        yield Ailment(Level.DEGRADED, what, do, each.since, means)


def _lost_servers(status: Status) -> Iterator[Ailment]:
    """Name the servers that failed, and that Consul took off its list since.

    Without this a host whose server died would seem well as soon as Consul has
    forgotten the server.
    """
    for each in status.lost:
        what = f"server {each.server} died, and Consul lists it no more"
        do = "if it is to be there, start Consul on it again; else nothing"
        means = _went(status, each.left) or "no proxy is on it, they use the others"
        yield Ailment(Level.DEGRADED, what, do, each.since, means)


def _deserted(status: Status) -> Iterator[Ailment]:
    """Name the servers that seem dead while no controller runs, which would probe them.

    The kernel's table says `ready` of them, as the controller wrote it down last.
    """
    if status.controller.running:
        return
    for each in status.servers:
        where = host_port(each.address, each.port)
        gone = deserted(status.timeline, where)
        if gone and each.state == "ready" and not each.active:
            what = f"server {where} may be dead: nobody probes it without a controller"
            do = (
                f"look at Consul on {each.address}; consul-ebpf doctor asks each server"
            )
            means = _went(status, gone.left)
            yield Ailment(Level.DEGRADED, what, do, gone.since, means)


def _went(status: Status, gone: Left) -> str:
    """Say who went to other servers; not those that have not found one."""
    found = gone.without(status.unconnected)
    if not found.count:
        return ""
    return f"{listed(found.proxies[:NAMED], found.count)} went from it to others"


def _controller(status: Status) -> Iterator[Ailment]:
    if not status.controller.running:
        what = "no controller runs"
        means = (
            "the kernel goes on, also when a server dies; new servers, proxies and"
            " tokens wait for it"
        )
        do = "systemctl start consul-ebpf; journalctl -u consul-ebpf says why it ended"
        ended = (each for each in status.timeline if each.kind == "controller_ended")
        since = max((each.at for each in ended), default=0.0)
        yield Ailment(Level.DEGRADED, what, do, since, means)


def _missing(status: Status) -> Iterator[Ailment]:
    for line in status.missing:
        since = status.about.get(line, About()).since
        yield Ailment(Level.DEGRADED, line, LOOK_AT_LOG, since)


def _problems(status: Status) -> Iterator[Ailment]:
    """Name each problem once, with all the proxies that have it."""
    served = {each.id for each in status.proxies}
    down = {each.id for each in _down(status)}
    by_line: dict[str, list[str]] = {}
    for proxy, lines in status.problems.items():
        for line in lines:
            by_line.setdefault(line, []).append(proxy)
    for line, proxies in by_line.items():
        about = status.about.get(line, About())
        unserved = any(each not in served for each in proxies)
        keeps_off = bool(about.do) and any(each in down for each in proxies)
        level = Level.FAILING if unserved or keeps_off else Level.DEGRADED
        what, do = f"{_named(proxies)}: {line}", about.do or LOOK_AT_LOG
        yield Ailment(level, what, do, about.since, about.means)


def _down(status: Status) -> list[ProxyStatus]:
    """Return the proxies that were connected once, or tried, and are not now."""
    return [each for each in status.proxies if each.connects and not each.active]


def _connections(status: Status) -> Iterator[Ailment]:
    """Name those that are down, and of which no problem says why."""
    explained = {
        proxy
        for proxy, lines in status.problems.items()
        if any(status.about.get(line, About()).do for line in lines)
    }
    down = _down(status)
    lost = [each for each in down if each.id not in explained]
    if not lost:
        return
    level = Level.FAILING if len(down) == len(status.proxies) else Level.DEGRADED
    what = f"{_named(map(_name, lost))}: not connected to any server"
    means = "an Envoy that runs goes on with what it has, and gets no changes"
    do = "look whether the Envoy runs, and at its log"
    if GRPC.name in status.silent:
        do = "it connects by itself once a server answers"
    yield Ailment(level, what, do, means=means)


def _room(status: Status) -> Iterator[Ailment]:
    capacity = status.kernel.capacity
    if capacity and len(status.proxies) >= NEARLY_FULL * capacity:
        what = f"{len(status.proxies)} of {capacity} VIPs are given"
        yield Ailment(Level.DEGRADED, what, "raise kernel.max_proxies, and restart")


def _dns(dns: DnsStatus, silent: float) -> Iterator[Ailment]:
    if not dns.attached:
        what = "DNS: its programs are not attached"
        yield Ailment(Level.FAILING, what, LOOK_AT_LOG)
    ready = [each for each in dns.servers if each.state == "ready"]
    do = "consul-ebpf doctor asks each server"
    if silent:
        what = f"DNS: no server answers; queries to {dns.vip} go to each in turn"
        yield Ailment(Level.FAILING, what, do, silent)
    if not ready:
        what = f"DNS: no server answers; queries to {dns.vip} are refused"
        yield Ailment(Level.FAILING, what, do)
    for each in dns.servers:
        if each.state == "failing" and ready and not silent:
            where = host_port(each.address, each.port)
            what = f"DNS: server {where} does not answer; queries go to the others"
            do = f"look at ports.dns of Consul on {each.address}"
            yield Ailment(Level.DEGRADED, what, do)


def _node(node: NodeStatus) -> Iterator[Ailment]:
    if node.serving is False:
        what = "kubelet cannot call the node plugin: no pod with a volume of it starts"
        yield Ailment(Level.FAILING, what, LOOK_AT_LOG)
    if node.registered is False:
        what = f"kubelet refused the node plugin: {node.error}"
        yield Ailment(Level.FAILING, what, "docs/kubernetes.md; consul-ebpf doctor")


def _named(names: Iterable[str]) -> str:
    all_ = list(names)
    return listed(all_[:NAMED], len(all_))


def _name(proxy: ProxyStatus) -> str:
    return proxy.id or proxy.vip
