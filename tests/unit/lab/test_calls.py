"""What is counted of strace's lines."""

from tests.lab.calls import counted_in, map_writes

LINES = """\
4711  newfstatat(AT_FDCWD, "/run/a", {st_mode=S_IFREG|0600, st_size=7}, 0) = 0
4712  futex(0x7f, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
4711  write(3, "count=9", 7)            = 7
4712  <... futex resumed>)              = 0
4711  bpf(BPF_MAP_UPDATE_ELEM, {map_fd=4, key=0x1, value=0x2, flags=BPF_ANY}, 32) = 0
4711  bpf(BPF_MAP_UPDATE_BATCH, {batch={keys=0x1, count=7, map_fd=5}}, 56) = 0
4711  bpf(BPF_MAP_LOOKUP_BATCH, {batch={in_batch=NULL, count=256, map_fd=4}}, 56) = 0
4712  --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=4713} ---
4713  +++ exited with 0 +++
"""


def test_a_call_counts_once_and_a_written_row_too() -> None:
    """However many rows a call writes; of reading it is the calls that count."""
    counted = counted_in(LINES)
    assert {
        "newfstatat": 1,
        "futex": 1,
        "write": 1,
        "BPF_MAP_UPDATE_ELEM": 1,
        "BPF_MAP_UPDATE_BATCH": 7,
        "BPF_MAP_LOOKUP_BATCH": 1,
    } == dict(counted)
    assert 8 == map_writes(counted)
