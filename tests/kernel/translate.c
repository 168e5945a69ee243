/* Another tool at connect4: a load balancer that knows one service. */
#include "tables.h"

int connect4(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip4 == FROM_ADDRESS) {
    ctx->user_ip4 = TO_ADDRESS;
  }
  return VERDICT;
}

int connect6(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip6[3] == FROM_ADDRESS) { /* ::ffff:a.b.c.d */
    ctx->user_ip6[3] = TO_ADDRESS;
  }
  return VERDICT;
}
