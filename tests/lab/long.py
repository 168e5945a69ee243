"""What `nox -s long` does that a usual run does in part: sleeps, kill points, soaks.

`CONSUL_EBPF_LONG=1` is a long run. What a usual run draws by chance it draws from a
seed, which is printed: `CONSUL_EBPF_SEED` draws the same again.
"""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

LONG = os.environ.get("CONSUL_EBPF_LONG") == "1"

SEED = int(os.environ.get("CONSUL_EBPF_SEED") or random.SystemRandom().getrandbits(32))
os.environ["CONSUL_EBPF_SEED"] = str(SEED)  # pytest's workers draw the same


def seconds(usual: float, long: float) -> float:
    """Return how long a test goes on."""
    return long if LONG else usual


def sample(things: Sequence[T], count: int) -> list[T]:
    """Return all in a long run, else `count` of them, in their order; prints the seed.

    The first and the last are always among them.
    """
    if LONG or len(things) <= count:
        return list(things)
    print(f"CONSUL_EBPF_SEED={SEED}")
    middle = random.Random(SEED).sample(range(1, len(things) - 1), max(0, count - 2))
    return [things[at] for at in sorted({0, len(things) - 1, *middle})]
