"""What `doctor` found: one line for each check."""

from dataclasses import dataclass

from consul_ebpf.model.errors import ConsulEbpfError


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `error` is None where all is well, or well enough."""

    name: str
    text: str
    error: ConsulEbpfError | None = None
    warn: bool = False
    """One can do without it."""

    def __str__(self) -> str:
        mark = "FAIL" if self.error else "warn" if self.warn else "ok  "
        return f"{mark} {self.name}: {self.text}"

    @classmethod
    def failed(cls, name: str, text: str) -> "Finding":
        """Make one that fails with exit code 1."""
        return cls(name, text, ConsulEbpfError(text))
