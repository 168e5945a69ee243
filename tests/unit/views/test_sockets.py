"""Which sockets are established, with as few questions as can be."""

from consul_ebpf.model.values import VipCounters
from consul_ebpf.views.sockets import EstablishedSockets


class Kernel:
    """Namespaces that count who asks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.here = frozenset({1, 2, 99})
        self.elsewhere = frozenset({3})
        self.asked = 0
        self.look = EstablishedSockets(
            lambda: self.here, self.everywhere, lambda: self.now
        )

    def everywhere(self) -> frozenset[int]:
        self.asked += 1
        return self.here | self.elsewhere


def rows(*noted: tuple[int, ...]) -> list[VipCounters]:
    return [
        VipCounters(
            len(cookies), 0 if cookies else None, tuple((c, 0) for c in cookies)
        )
        for cookies in noted
    ]


def test_fault_131_nobody_is_asked_while_all_are_here() -> None:
    """Neither for a proxy that never connected."""
    kernel = Kernel()
    assert {1, 2} <= kernel.look(rows((1,), (2, 77), ()))
    assert frozenset() == kernel.look(rows()) & {3}
    assert 0 == kernel.asked


def test_the_helper_is_asked_for_what_is_not_here_once_a_second() -> None:
    """However often somebody looks."""
    kernel = Kernel()
    for _ in range(10):
        assert {1, 3} <= kernel.look(rows((1,), (3,)))
    assert 1 == kernel.asked
    kernel.now = 1.0
    kernel.elsewhere = frozenset()
    assert 3 not in kernel.look(rows((1,), (3,)))
    assert 2 == kernel.asked
