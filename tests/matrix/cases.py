"""What the matrix has: one version of each part, and which tests run on them."""

from dataclasses import dataclass, field

NEWEST = {"consul": "1.22.7", "envoy": "1.40.0", "python": "3.11"}
"""What a case does not name. Python: Debian 12's, the oldest that is supported."""

VERSIONS = {
    "consul": ("1.18.2", "1.20.6", "1.21.5", "1.22.7"),
    "envoy": ("1.36.4", "1.37.0", "1.38.3", "1.39.3", "1.40.0"),
    "python": ("3.11", "3.12", "3.13"),
}

REAL = "not kubernetes and not resolvers and not coredns"
ENVOYS_OWN = (
    *("bootstrap_live", "bootstrap_validate", "controller", "dead_servers"),
    *("failover", "secured", "tls_files", "tls_live"),
)
TESTS = {
    "consul": (("tests/consul", "tests/e2e"), f"consul and {REAL}"),
    "envoy": (
        tuple(f"tests/e2e/test_{name}.py" for name in ENVOYS_OWN),
        f"envoy and {REAL}",
    ),
    "python": (
        ("tests/unit", "tests/contract", "tests/consul"),
        f"not kernel and {REAL}",
    ),
}
"""By what a case is about: where its tests are, and which of them run."""


@dataclass(frozen=True)
class Case:
    """Parts by name to their versions; those named are what it is about.

    `named` is never empty, and in the order of `VERSIONS`.
    """

    named: dict[str, str] = field(hash=False)

    @property
    def name(self) -> str:
        """As it is asked for, such as `consul=1.18.2,envoy=1.36.4`."""
        return ",".join(f"{part}={version}" for part, version in self.named.items())

    @property
    def subject(self) -> str:
        """The part whose tests run."""
        return next(iter(self.named))

    @property
    def versions(self) -> dict[str, str]:
        """Every part's version."""
        return {**NEWEST, **self.named}

    @property
    def paths(self) -> tuple[str, ...]:
        """Where its tests are."""
        return TESTS[self.subject][0]

    @property
    def marks(self) -> str:
        """Which of them run: pytest's `-m`."""
        return TESTS[self.subject][1]


CASES = tuple(
    Case({part: version}) for part, versions in VERSIONS.items() for version in versions
)
"""Every version of each part, with the newest of the others."""


def parse_case(text: str) -> Case:
    """Read a case's name; its versions need not be those above.

    Raises:
        ValueError: it is none; says what one looks like.
    """
    named = dict(pair.partition("=")[::2] for pair in text.split(","))
    if not all(named.values()) or set(named) - set(VERSIONS):
        parts = ", ".join(VERSIONS)
        raise ValueError(f"{text!r} is no case: write consul=1.18.2; parts: {parts}")
    return Case({part: named[part] for part in VERSIONS if part in named})
