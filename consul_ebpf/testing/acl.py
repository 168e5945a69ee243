"""An in-memory `Acl`: logins that are given tokens of numbers."""

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.values import Login


class FakeAcl:
    """Consul's ACL system, as far as `TokenKeeper` asks it.

    `valid` holds the secrets that are accepted, `secret-1` and so on; take one out as
    if it had expired. Set `failure` to make the next calls raise it.
    """

    def __init__(self, lifetime: float | None = None) -> None:
        """Say of every token that it lives `lifetime` seconds."""
        self.seconds = lifetime
        self.valid: set[str] = set()
        self.logins: list[Login] = []
        self.failure: ConsulError | None = None
        self.lagging = False
        """Whether the servers do not know new tokens yet."""

    def __repr__(self) -> str:
        return f"<FakeAcl {len(self.valid)} tokens>"

    async def login(self, how: Login) -> str:
        """Make a token."""
        self._fail()
        self.logins.append(how)
        secret = f"secret-{len(self.logins)}"
        self.valid.add(secret)
        return secret

    async def lifetime(self, secret: str, how: Login) -> float | None:  # noqa: ARG002
        """Return `seconds`."""
        return self.seconds

    async def logout(self, secret: str, how: Login) -> None:  # noqa: ARG002
        """Forget a token."""
        self._fail()
        self.valid.discard(secret)

    async def refused(self, secret: str) -> bool:
        """Whether it is not one of `valid`."""
        return self.failure is None and secret not in self.valid

    async def accepted(self, secret: str) -> bool:
        """Whether it is one of `valid`, and the servers know."""
        return secret in self.valid and not self.lagging

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
