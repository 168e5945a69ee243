"""What a bootstrap leaves out, and why: one line for each value."""

from consul_ebpf.base.lines import one_line

WHERE = "in proxy-defaults, service-defaults or the proxy's own registration"


class Notes:
    """Collects the lines while a bootstrap is made; equal lines are kept once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<Notes {len(self._lines)}>"

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, in the order of the bootstrap's parts."""
        return tuple(self._lines)

    def leave_out(self, key: str, why: str) -> None:
        """Note that a key of central configuration, or a part of it, is left out."""
        line = f"central configuration: {key} is left out: {why} ({WHERE})"
        self._lines[one_line(line, 500)] = None

    def leave_out_of_params(self, what: str, why: str) -> None:
        """Note that another part of `BootstrapParams` is left out."""
        line = f"what Consul says of it: {what} is left out: {why}"
        self._lines[one_line(line, 500)] = None
