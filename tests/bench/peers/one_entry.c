/* The least that leads a VIP to a server: one row, looked up by its index.
 *
 * The loader defines ADDRESS and PORT, the VIP's, in network byte order.
 */
struct entry {
  u32 address;
  u32 port;
};

BPF_TABLE_PINNED("array", u32, struct entry, entry, 1, PIN_ENTRY);

int connect4(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip4 != ADDRESS || ctx->user_port != PORT)
    return 1;
  u32 first = 0;
  struct entry *server = entry.lookup(&first);
  if (!server)
    return 0;
  ctx->user_ip4 = server->address;
  ctx->user_port = server->port;
  return 1;
}
