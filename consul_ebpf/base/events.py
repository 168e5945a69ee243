"""Events: log lines with a name. They are counted by that name.

    logger.warning("%s was detached; attached it again", hook, extra=event("mended"))

The log and the counts come from the same call, so they cannot contradict each other.
"""

import logging
from collections import Counter
from typing import Literal, TypedDict

Event = Literal[
    "all_probes_fail",  # no server answers; their states are kept
    "asker_missing",  # a cgroup of dns.cgroups is not there
    "bootstrap_changed",  # a bootstrap that an Envoy may have started from
    "cut",  # sockets to a dead server destroyed; counts sockets
    "cut_failed",  # ... which could not be
    "dns_failing",  # enough probes of a server's DNS failed
    "dns_failed",  # DNS cannot be served here, whatever else is
    "few_inotify",  # too few inotify instances for the proxies' Envoys
    "files_failed",  # a bootstrap, a token or a state file could not be written
    "kernel_refused",  # a write to a table or a repair failed
    "list_empty",  # the source lists no usable server; the last list is kept
    "list_refused",  # entries of a list that no server can have
    "logged_in",  # a new ACL token by a login
    "login_failed",  # ... which was refused, or nobody answered
    "mended",  # a link, a pin, a table or the helper put back
    "not_verified",  # consul.tls.insecure_skip_verify is set
    "not_registered",  # kubelet refused the node plugin
    "proxy_refused",  # a proxy cannot be served
    "resumed",  # began with the last known servers
    "server_failing",  # enough probes of a server failed
    "source_failed",  # Consul, or what else names servers or proxies, did not answer
    "state_ignored",  # a state file was damaged or another cluster's
    "token_refused",  # the servers no longer accept a login's token
    "token_rotated",  # proxies moved to a new token; the old one is being logged out
    "stuck",  # a piece of work does not go on: the watchdog is not pinged
    "volume_failed",  # a pod's volume could not be refreshed; its pod goes on
    "without_central",  # a bootstrap written without what Consul says of it
    "task_failed",  # one part's unforeseen error; it was started again
    "tls_failed",  # TLS files that cannot be used; the last good ones are kept
]
"""Names of events, as `status` counts them."""


class Extra(TypedDict):
    """What a log record carries."""

    event: Event
    count: int


def event(name: Event, count: int = 1) -> Extra:
    """Return the `extra` that makes a log call's line an event."""
    return {"event": name, "count": count}


class EventCounter(logging.Handler):
    """Counts the events in what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<EventCounter {self.counts}>"

    @property
    def counts(self) -> dict[str, int]:
        """How often each event happened since the start, sorted by name."""
        return dict(sorted(self._counts.items()))

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record that is an event."""
        name = getattr(record, "event", None)
        if name is not None:
            self._counts[name] += getattr(record, "count", 1)
