"""What happened on a host, in words: for `top`, `status` and the page. Pure."""

from collections.abc import Callable, Iterable, Mapping

from consul_ebpf.views.happenings import Happening


def words_of(happening: Happening) -> str:
    """Return a happening as one line, without its time."""
    tell = LINES.get(happening.kind)
    return tell(happening) if tell else happening.kind


def _who(each: Happening) -> str:
    return listed(each.proxies, each.count)


def _event(each: Happening) -> str:
    times = f" ({each.count} times)" if each.count > 1 else ""
    return f"{EVENTS.get(each.event, each.event.replace('_', ' '))}{times}"


LINES: Mapping[str, Callable[[Happening], str]] = {
    "server_ready": lambda each: f"server {each.server} is ready",
    "server_failing": lambda each: f"server {each.server} is failing",
    "server_draining": lambda each: (
        f"server {each.server} is draining: Consul no longer lists it"
    ),
    "server_gone": lambda each: f"server {each.server} is gone",
    "moved": lambda each: (
        f"{_who(each)} moved from {each.server} to {each.to}"
        if each.times == 1
        else f"{_who(each)} moved back and forth {each.times} times, last to {each.to}"
    ),
    "connected": lambda each: f"{_who(each)} connected to {each.to}",
    "proxies_new": lambda each: f"{_who(each)} added",
    "proxies_gone": lambda each: f"{_who(each)} removed",
    "controller_started": lambda _: "the controller started",
    "controller_ended": lambda _: "the controller ended; the kernel goes on without it",
    "attached": lambda _: "the programs are attached",
    "detached": lambda _: "the programs are NOT attached: Envoys cannot connect",
    "event": _event,
}
"""The line of each kind of happening."""

EVENTS: Mapping[str, str] = {
    "all_probes_fail": "no server answers; their states are kept",
    "asker_missing": "a cgroup of dns.cgroups is not there",
    "bootstrap_changed": "a bootstrap that an Envoy may run with has changed",
    "cut": "a connection to a dead server was cut",
    "cut_failed": "a connection to a dead server could not be cut",
    "dns_failing": "a server's DNS does not answer",
    "dns_failed": "DNS cannot be served here",
    "few_inotify": "too few inotify instances for the proxies' Envoys",
    "files_failed": "a file could not be written",
    "kernel_refused": "the kernel refused a write",
    "list_empty": "Consul lists no usable server; the last list is kept",
    "list_refused": "Consul lists addresses that no server can have",
    "logged_in": "a proxy logged in",
    "login_failed": "a login failed",
    "mended": "something was put back that others had removed",
    "not_verified": "certificates are not verified",
    "not_registered": "kubelet refused the node plugin",
    "proxy_refused": "a proxy cannot be served, or not wholly",
    "resumed": "began with the last known servers",
    "source_failed": "Consul, or what else names servers or proxies, does not answer",
    "state_ignored": "a damaged state file was set aside",
    "stuck": "a piece of work does not go on",
    "task_failed": "a part failed and was started again",
    "tls_failed": "TLS files cannot be used; the last good ones are kept",
    "token_refused": "the servers refuse a proxy's token",
    "token_rotated": "proxies moved to a new token",
    "without_central": "a bootstrap was written without what Consul says of it",
}
"""Events in words; the log has the whole line."""


def listed(names: Iterable[str], count: int) -> str:
    """Return `web-1, web-2 and 3 more`."""
    shown = list(names)
    more = count - len(shown)
    listed = ", ".join(shown)
    if more > 0:
        return f"{count} proxies ({listed}, …)" if shown else f"{count} proxies"
    return f"proxy {listed}" if count == 1 else f"proxies {listed}"
