"""What the log says of a pool: a line for each change, not for each probe."""

import logging
from collections.abc import Callable, Iterable

from consul_ebpf.base.events import Event, event
from consul_ebpf.base.reasons import Reasons
from consul_ebpf.model.values import GRPC, PooledServer, Server, ServerState, Service

logger = logging.getLogger(__name__)


class PoolLog:
    """Remembers what it said. Lines of any service but gRPC begin with its name."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._prefix = "" if service == GRPC else f"{service.name.upper()}: "
        self._failing: Event = "dns_failing" if self._prefix else "server_failing"
        self._reasons = Reasons(logger, "list_refused")
        self._panicking = False
        self._empty = False

    def report_refused(self, lines: Iterable[str]) -> None:
        """Say what is new of these entries of a list that no server can have."""
        self._reasons.report(lines)

    def report_states(
        self,
        before: Iterable[PooledServer],
        after: Iterable[PooledServer],
        why: Callable[[Server], str | None],
    ) -> None:
        """Say which servers' states changed; `why` says what one failing answered."""
        known = {pooled.server.id: pooled for pooled in before}
        now = {pooled.server.id: pooled for pooled in after}
        # A seed has no id of Consul's; the list that comes later has one for it.
        renamed = {
            self._service.shown_at(pooled.server): id_
            for id_, pooled in known.items()
            if id_ not in now
        }
        for id_, pooled in now.items():
            server, state = pooled.server, pooled.state
            same = id_ if id_ in known else renamed.get(self._service.shown_at(server))
            was = known.pop(same, None) if same else None
            if was is not None and was.state is state:
                continue
            failing = state is ServerState.FAILING
            left = was is not None and was.state is ServerState.DRAINING
            logger.log(
                logging.WARNING if failing and not left else logging.INFO,
                "%sserver %s is %s%s%s",
                self._prefix,
                self._named(server),
                state.value,
                f", was {was.state.value}" if was else "",
                f" ({why(server)})" if failing else "",
                extra=event(self._failing) if failing else None,
            )
        for pooled in known.values():
            logger.info(
                "%sserver %s has left", self._prefix, self._named(pooled.server)
            )

    def report_panic(self, why: str, *, panicking: bool) -> None:
        """Say that servers stay ready only because none answers, or no longer."""
        if panicking and not self._panicking:
            logger.error(
                "%sno server answers its probe (%s); keeping their states,"
                " check this host's network and the servers",
                self._prefix,
                why,
                extra=event("all_probes_fail"),
            )
        elif self._panicking and not panicking:
            logger.info("%sservers answer their probes again", self._prefix)
        self._panicking = panicking

    def report_empty(self, known: int, *, empty: bool) -> None:
        """Say that a list is empty while some servers are known, or no longer."""
        if empty and not self._empty:
            logger.warning(
                "the source lists no usable server; keeping the %d known."
                " Consul answers so too if the ACL token lacks service:read or"
                " node:read",
                known,
                extra=event("list_empty"),
            )
        elif self._empty and not empty:
            logger.info("the source lists servers again")
        self._empty = empty

    def _named(self, server: Server) -> str:
        where = self._service.shown_at(server)
        return f"{server.name} ({where})" if server.name else where
