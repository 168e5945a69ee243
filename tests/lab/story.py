"""What happens to a membership of servers, told step by step."""

from collections.abc import Sequence
from dataclasses import replace

from consul_ebpf.model.values import Server, ServerState
from consul_ebpf.servers.members import Members, Rules
from consul_ebpf.servers.membership import pooled, with_list, with_verdict

RULES = Rules()
READY, FAILING, DRAINING = ServerState.READY, ServerState.FAILING, ServerState.DRAINING
A, B, C, D, E = (
    replace(Server.at(f"10.0.0.{i}", 8502), id=id_) for i, id_ in enumerate("abcde", 1)
)


class Story:
    """Events on a clock, and what the pool makes of them."""

    def __init__(self, *servers: Server) -> None:
        self.members: Members = {}
        self.now = 1000.0
        self.lists(*servers)
        for server in servers:
            self.up(server)

    def lists(self, *servers: Server) -> None:
        self.members = with_list(self.members, servers, self.now, RULES)

    def up(self, *servers: Server) -> None:
        self._verdicts(servers, alive=True)

    def down(self, *servers: Server) -> None:
        self._verdicts(servers, alive=False)

    def dead(self, *servers: Server) -> None:
        for _ in range(RULES.fall):
            self.down(*servers)

    def _verdicts(self, servers: Sequence[Server], *, alive: bool) -> None:
        for server in servers:
            self.members = with_verdict(self.members, server, alive, self.now, RULES)

    @property
    def states(self) -> dict[str, ServerState]:
        return {p.server.id: p.state for p in pooled(self.members, self.now, RULES)}

    @property
    def proven_dead(self) -> set[str]:
        shown = pooled(self.members, self.now, RULES)
        return {p.server.id for p in shown if p.dead}

    @property
    def silent(self) -> set[str]:
        shown = pooled(self.members, self.now, RULES)
        return {p.server.id for p in shown if p.silent}
