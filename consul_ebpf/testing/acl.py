"""An in-memory `Acl`. Its tokens are called `secret-1`, `secret-2` and so on."""

from consul_ebpf.model.errors import ConsulError
from consul_ebpf.model.lifetime import UNKNOWN, Lifetime
from consul_ebpf.model.values import Login


class FakeAcl:
    """Consul's ACL system, as far as `TokenKeeper` needs it.

    `valid` has the secrets that are accepted: remove one as if it had expired. Set
    `failure` to make the next calls raise it. `looks` counts the calls of `refused`.
    """

    def __init__(self, lifetime: float | Lifetime | None = None) -> None:
        """Let every token live so many seconds; None: unknown."""
        self.life = UNKNOWN
        if isinstance(lifetime, Lifetime):
            self.life = lifetime
        elif lifetime is not None:
            self.life = Lifetime(lifetime)
        self.valid: set[str] = set()
        self.logins: list[Login] = []
        self.failure: ConsulError | None = None
        self.lagging = False
        """Whether no server knows new tokens yet."""
        self.partly = False
        """Whether not all servers know new tokens yet."""
        self.looks = 0
        self._known: set[str] = set()

    def __repr__(self) -> str:
        return f"<FakeAcl {len(self.valid)} tokens>"

    async def login(self, how: Login) -> str:
        """Make a token."""
        self._fail()
        if not (how.bearer_token or how.bearer_token_file):
            raise ConsulError("no bearer token: set bearer_token or bearer_token_file")
        self.logins.append(how)
        secret = f"secret-{len(self.logins)}"
        self.valid.add(secret)
        return secret

    async def lifetime(self, secret: str, how: Login) -> Lifetime:  # noqa: ARG002
        """Return `life` if the token is valid."""
        return self.life if secret in self.valid else UNKNOWN

    async def logout(self, secret: str, how: Login) -> None:  # noqa: ARG002
        """Forget a token."""
        self._fail()
        self.valid.discard(secret)

    async def refused(self, secret: str) -> bool:
        """Whether no server knows it."""
        self.looks += 1
        known = self._reached(secret) or self._some(secret)
        return self.failure is None and not known

    async def accepted(self, secret: str) -> bool:
        """Whether every server knows it."""
        return self.failure is not None or self._reached(secret)

    def _reached(self, secret: str) -> bool:
        """Whether all servers know it; once they do, they do while it is valid."""
        if secret in self.valid and not (self.lagging or self.partly):
            self._known.add(secret)
        return secret in self.valid and secret in self._known

    def _some(self, secret: str) -> bool:
        return secret in self.valid and self.partly

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
