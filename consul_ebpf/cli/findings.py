"""The findings of `doctor`: one line for each check."""

from dataclasses import dataclass

from consul_ebpf.model.errors import ConsulEbpfError


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    name: str
    """What was checked."""
    text: str
    """The result, and what to do if it is not good."""
    error: ConsulEbpfError | None = None
    """Why a controller cannot run; None: it can."""
    warn: bool = False
    """Whether something is wrong that does not keep a controller from running."""

    def __str__(self) -> str:
        mark = "FAIL" if self.error else "warn" if self.warn else "ok  "
        return f"{mark} {self.name}: {self.text}"

    @classmethod
    def failed(cls, name: str, text: str) -> "Finding":
        """Return one that makes `doctor` end with exit code 1."""
        return cls(name, text, ConsulEbpfError(text))
