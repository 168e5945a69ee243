"""Which capability a controller keeps for its own tables, as kernels answer."""

import pytest

from consul_ebpf.kernel.unprivileged import chosen


@pytest.mark.parametrize(
    ("works", "kept"),
    [
        ({"", "bpf", "sys_admin"}, set()),
        ({"bpf", "sys_admin"}, {"bpf"}),
        ({"sys_admin"}, {"sys_admin"}),
        (set(), {"bpf", "sys_admin"}),
    ],
    ids=["5.19", "5.8", "5.7, or no CAP_BPF granted", "a filter of system calls"],
)
def test_fault_102_the_least_that_works_is_kept(
    works: set[str], kept: set[str]
) -> None:
    """By trying; where nothing tells, whatever may help."""
    assert set(chosen(lambda name: name in works)) == kept
