/* connect4 and connect6: replace a proxy's VIP by the address of a live Consul server.
 *
 * The loader defines VIP_NETWORK, VIP_MASK and VIP_PORT (all in network byte order), and
 * RETRY_WINDOW (jiffies).
 */
#include "redirect.h"

static __always_inline bool in_vip_range(u32 address) {
  return (address & VIP_MASK) == VIP_NETWORK;
}

/* Whether the caller may use the VIP: it is in the namespace and the cgroup that the VIP
 * is bound to. */
static __always_inline bool is_callers(struct bpf_sock_addr *ctx, struct vip *vip) {
  if (vip->netns && vip->netns != bpf_get_netns_cookie(ctx))
    return false;
  return !vip->cgroup || vip->cgroup == bpf_get_current_ancestor_cgroup_id(vip->level);
}

/* A connect to the range of the VIPs, but no row has the address. At the VIPs' port it
 * is refused: else a process that listens on 0.0.0.0 here would get the token that is
 * meant for Consul. */
static __always_inline int without_row(struct bpf_sock_addr *ctx) {
  return ctx->user_port == VIP_PORT ? REFUSE : ALLOW;
}

/* Returns the first ready server of the preference, beginning behind that of the last
 * connect; NULL: no server is ready. A proxy has one connection, and makes another one
 * because the last is no good, whatever is wrong with its server (refused, black-holed,
 * full, draining, hung). */
static __always_inline struct server *pick(struct vip *vip, u64 cookie,
                                           bool from_ipv6) {
  u64 preference = *(volatile u64 *)&vip->preference;
  u64 now = bpf_jiffies64(); /* inlined by the verifier, unlike other clocks */
  u64 cursor = vip->cursor;

  if (vip->last) {
    if (now - vip->last < RETRY_WINDOW) {
      u32 left = (preference >> ((cursor % CHOICES) * 8)) & 0xff;
      struct server *server = servers.lookup(&left);
      if (server)
        __sync_fetch_and_add(&server->failures, 1);
      vip->failures++;
    }
    cursor++;
  }
#pragma unroll
  for (int i = 0; i < CHOICES; i++, cursor++) {
    u32 slot = (preference >> ((cursor % CHOICES) * 8)) & 0xff;
    struct server *server = servers.lookup(&slot);
    if (!server || !reachable(server, from_ipv6)) /* NO_SLOT's row is never READY */
      continue;

    __sync_fetch_and_add(&server->connects, 1);
    u64 at = vip->connects++; /* without a lock: a proxy seldom connects twice at once */
    asm volatile("" : "+r"(at)); /* keep clang from dropping the bound below */
    vip->recent[at & (RECENT - 1)] = cookie * SLOTS + slot;
    vip->cursor = cursor % CHOICES;
    vip->last = now;
    return server;
  }
  vip->last = 0; /* no server was tried: the next connect begins at the cursor */
  return NULL;
}

int connect4(struct bpf_sock_addr *ctx) {
  u32 address = ctx->user_ip4;
  if (!in_vip_range(address) || ctx->type != SOCK_STREAM)
    return ALLOW;

  struct vip_key key = {.address = address, .port = ctx->user_port};
  struct vip *vip = vips.lookup(&key);
  if (!vip)
    return without_row(ctx);
  if (!is_callers(ctx, vip))
    return REFUSE;

  struct server *server = pick(vip, cookie_of(ctx), false);
  if (!server)
    return REFUSE; /* a VIP must never reach the wire */
  lead4(ctx, server);
  return ALLOW;
}

int connect6(struct bpf_sock_addr *ctx) {
  u32 address = ctx->user_ip6[3];
  if (!in_vip_range(address) || !is_mapped(ctx) || ctx->type != SOCK_STREAM)
    return ALLOW;

  struct vip_key key = {.address = address, .port = ctx->user_port};
  struct vip *vip = vips.lookup(&key);
  if (!vip)
    return without_row(ctx);
  if (!is_callers(ctx, vip))
    return REFUSE;

  struct server *server = pick(vip, cookie_of(ctx), true);
  if (!server)
    return REFUSE;
  lead6(ctx, server);
  return ALLOW;
}
