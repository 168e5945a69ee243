"""Announces each step that changes the kernel's or the disk's state.

A step is an audit event of Python (`sys.addaudithook`). A test can see, count or kill
at each one from outside, and nothing here knows about tests.
"""

import sys

STEP = "consul_ebpf.step"
"""The audit event's name; its one argument is the step's."""


def step(name: str) -> None:
    """Announce that the change called `name` comes next."""
    sys.audit(STEP, name)
