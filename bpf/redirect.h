/* What both programs do with an address: see whether it is mapped, write a server's.
 * The loader defines MAPPED_PREFIX, the third word of ::ffff:a.b.c.d. */
#pragma once

#include "tables.h"

#define ALLOW 1  /* go on with the address as it now is */
#define REFUSE 0 /* the call fails with EPERM */

#define __always_inline inline __attribute__((always_inline))

#define SOCK_STREAM 1

/* A socket's cookie has 64 bits; BCC declares this helper with a result of 32. */
static u64 (*const cookie_of)(void *) = (void *)BPF_FUNC_get_socket_cookie;

static __always_inline bool is_mapped(struct bpf_sock_addr *ctx) {
  return !ctx->user_ip6[0] && !ctx->user_ip6[1] && ctx->user_ip6[2] == MAPPED_PREFIX;
}

static __always_inline bool reachable(const struct server *server, bool from_ipv6) {
  /* An AF_INET6 socket reaches an IPv4 server, too, by its mapped address. */
  if (server->state != READY)
    return false;
  return from_ipv6 || server->ipv4;
}

static __always_inline bool has_ipv6(const struct server *server) {
  return server->ipv6[0] | server->ipv6[1] | server->ipv6[2] | server->ipv6[3];
}

static __always_inline void lead4(struct bpf_sock_addr *ctx,
                                  const struct server *server) {
  ctx->user_ip4 = server->ipv4;
  ctx->user_port = server->port;
}

/* The address is a mapped VIP, so the mapped prefix is there already. */
static __always_inline void lead6(struct bpf_sock_addr *ctx,
                                  const struct server *server) {
  if (has_ipv6(server)) {
    ctx->user_ip6[0] = server->ipv6[0];
    ctx->user_ip6[1] = server->ipv6[1];
    ctx->user_ip6[2] = server->ipv6[2];
    ctx->user_ip6[3] = server->ipv6[3];
  } else {
    ctx->user_ip6[3] = server->ipv4;
  }
  ctx->user_port = server->port;
}
