/* A second program, at other hooks and with a table of its own: it counts by port. */
BPF_TABLE_PINNED("hash", u32, u64, seen, SEEN, PIN_SEEN);

static int count(u32 port) {
  u64 zero = 0, *times = seen.lookup_or_try_init(&port, &zero);
  if (times)
    __sync_fetch_and_add(times, 1);
  return 1;
}

int connect4(struct bpf_sock_addr *ctx) { return count(ctx->user_port); }

int sendmsg4(struct bpf_sock_addr *ctx) { return count(ctx->user_port); }
