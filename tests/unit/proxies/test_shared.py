"""Equal parts of what Consul says are kept once; nothing else is taken for equal."""

import math

from consul_ebpf.model.values import BootstrapParams, Proxy
from consul_ebpf.proxies.shared import MOST, SharedParams

PROXY = Proxy("web-1", "host1")


def params(identity: str = "web", value: object = "http") -> BootstrapParams:
    return BootstrapParams(
        identity=identity,
        datacenter=str(b"dc1", "ascii"),
        config={"protocol": value},
        access_logs=("{}",),
    )


def test_equal_configurations_and_names_are_one() -> None:
    """However many proxies have them."""
    shared = SharedParams()
    one, other = shared.share(PROXY, params()), shared.share(PROXY, params())
    assert one == other == params()
    assert one.config is other.config
    assert one.access_logs is other.access_logs
    assert one.datacenter is other.datacenter
    own = shared.share(PROXY, params(str(b"web-1", "ascii")))
    assert own.identity is PROXY.id


def test_what_is_not_the_same_stays_apart() -> None:
    """Also where Python calls it equal, or JSON has no word for it."""
    shared = SharedParams()
    for value in (1, True, 1.0, "1", None, math.inf, [1], [True], {2, 3}, object()):
        found = shared.share(PROXY, params(value=value)).config["protocol"]
        assert (type(found), found) == (type(value), value)
    assert math.isnan(shared.share(PROXY, params(value=math.nan)).config["protocol"])


def test_it_does_not_grow_for_ever() -> None:
    """Names and configurations come and go."""
    shared = SharedParams()
    for number in range(3 * MOST):
        given = params(f"web-{number}", number)
        assert shared.share(PROXY, given) == given
    assert len(shared._configs) <= MOST
    assert len(shared._names) <= MOST
