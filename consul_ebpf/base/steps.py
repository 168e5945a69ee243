"""The seam at which a test may stop the world: every step that changes something.

A step is an audit event of Python's own (`sys.addaudithook`), so that whoever wants to
see, count or kill at one does it from outside, and nothing here knows about tests.
"""

import sys

STEP = "consul_ebpf.step"
"""The audit event's name; its one argument is the step's."""


def step(name: str) -> None:
    """Say that `name`, a change of the kernel's or the disk's state, comes next."""
    sys.audit(STEP, name)
