/* The DNS VIP: swap it for a live Consul server's DNS port, and back in the replies.
 *
 * connect4 and connect6 lead connected sockets, UDP and TCP; sendmsg4 leads datagrams
 * that are sent with an address. It sees those of AF_INET6 sockets to the mapped VIP,
 * too: sendmsg6 is never called for a mapped address. recvmsg and getpeername show the
 * VIP in the server's place, for a resolver drops a reply from anywhere else.
 *
 * UDP has no connection that would tell when a server is silent. So it is noted, by
 * thread and by socket, which servers were asked and did not answer yet; the next query
 * goes past those that had the time to, to the next server in turn.
 *
 * The loader defines VIP_ADDRESS, VIP_PORT and SERVER_PORT (network byte order), QUIET,
 * PROBE and FORGET (jiffies, even), and LIMITED: whether only some cgroups may ask.
 */
#include "redirect.h"

#define IPPROTO_UDP 17
#define TCP_ESTABLISHED 1 /* of a UDP socket: it is connected */

#define MAX_CGROUPS 16
#define MAX_ASKERS 16384
#define MAX_CONNECTED 16384

/* A thread that asks. Its key is the address of its task_struct: the thread's number is
 * told at these hooks only since Linux 6.10. */
struct asker {
  u32 since[CHOICES]; /* by slot % CHOICES: see struct query */
  u8 last;            /* slot of its newest query */
  u8 sees;            /* a reply to this thread was seen: not all programs' are */
  u8 counted;         /* bits, by slot % CHOICES: it was counted as silent */
  u8 zero;
};

/* What a socket asked a server. */
struct query {
  u64 thread;
  u32 server[4]; /* IPv4 is mapped */
  u16 port;      /* zero: none */
  u16 slot;
  u32 since; /* jiffies (odd) at the oldest query without a reply; zero: none */
};

/* A socket that asks. This lives with its socket, so nobody can push it out. */
struct asked {
  u32 address; /* the VIP as it was then; zero: none yet */
  u16 port;
  u16 last; /* slot of its newest query */
  struct query queries[CHOICES]; /* by slot % CHOICES */
};

/* What all of this host know of a server. */
struct heard {
  u32 replied; /* jiffies at the newest reply to anybody */
  u32 probed;  /* jiffies when it was last found silent, or asked although it was */
};

/* A cgroup: what is in or below it may ask. */
struct cgroup {
  u64 id; /* zero: none */
  u64 level;
};

PINNED_TABLE("array", u32, struct cgroup, cgroups, MAX_CGROUPS, 0, PIN_CGROUPS);
PINNED_TABLE("array", u32, struct heard, heard, SLOTS, 0, PIN_HEARD);
PINNED_TABLE("lru_hash", u64, struct asker, askers, MAX_ASKERS, 0, PIN_ASKERS);
/* The newest connected sockets, by cookie, and the slot each leads to: user space cuts
 * those of a dead server. */
PINNED_TABLE("lru_hash", u64, u64, connected, MAX_CONNECTED, 0, PIN_CONNECTED);

/* BPF_SK_STORAGE with a pin path. */
struct asked_table_t {
  int key;
  struct asked leaf;
  void *(*sk_storage_get)(void *, void *, int);
  int flags;
};
__attribute__((section("maps/sk_storage:" PIN_ASKED))) struct asked_table_t asked = {
    .flags = BPF_F_NO_PREALLOC};

static __always_inline bool may_ask(void) {
  if (!LIMITED)
    return true;
#pragma unroll
  for (u32 i = 0; i < MAX_CGROUPS; i++) {
    u32 key = i;
    struct cgroup *cgroup = cgroups.lookup(&key);
    if (cgroup && cgroup->id &&
        cgroup->id == bpf_get_current_ancestor_cgroup_id(cgroup->level))
      return true;
  }
  return false;
}

/* Jiffies for which a server has not answered; zero: it has, or was not asked. */
static __always_inline u32 waited(u32 since, u32 now) {
  return since ? now - since : 0;
}

/* Whether a server that was asked had the time to answer, and has answered nobody since.
 * After a while it is asked again, though never by the query that follows the one it did
 * not answer. */
static __always_inline bool is_silent(u32 waited, u32 unheard, bool was_last) {
  if (waited < QUIET)
    return false;
  return was_last || (waited < FORGET && unheard >= waited);
}

/* Whether a server has not answered, and has some time left to. */
static __always_inline bool is_owing(u32 since, u32 now) {
  return since && now - since < QUIET;
}

/* Since when it is asked, when it is asked now. One that was silent stays so, as the one
 * asked last: the other queries go past it until it answers. */
static __always_inline u32 asked_since(u32 since, u32 now) {
  if (!since)
    return now;
  return now - since < QUIET ? since : now - QUIET;
}

/* An index by slot; the asm keeps clang from dropping the bound, which the verifier
 * wants to see. */
static __always_inline u32 place_of(u32 slot) {
  asm volatile("" : "+r"(slot));
  return slot & (CHOICES - 1);
}

/* Only of threads whose replies are seen: of others nothing is known. */
static __always_inline void note_silent(struct server *server, struct heard *all,
                                        struct asker *thread, u32 place, u32 now) {
  if (thread && thread->sees && !(thread->counted & (1 << place))) {
    thread->counted |= 1 << place;
    all->probed = now;
    __sync_fetch_and_add(&server->failures, 1);
  }
}

/* The next server in turn that was not silent to this thread or socket; where all were,
 * the one asked longest ago: as many tries as there are servers reach each of them. Now
 * and then one query, whose asker has just been answered, finds out for all whether a
 * silent one is back. By TCP nobody sees the replies, so it is simply the next in turn.
 * `chosen` becomes its slot. */
static __always_inline struct server *pick(struct vip *vip, struct asked *socket,
                                           struct asker *thread, bool from_ipv6,
                                           bool is_udp, bool connects, u32 now,
                                           u32 *chosen) {
  u64 preference = *(volatile u64 *)&vip->preference;
  u64 turn = vip->cursor + 1; /* that of all who ask for the first time */
  u32 last = NO_SLOT, longest = 0;
  struct server *found = NULL;
  bool passed = false, answered = false, owing = false, was_silent = false;

  if (socket->address) {
    last = socket->last;
    answered = !socket->queries[place_of(last)].since;
  } else if (thread) {
    last = thread->last;
    answered = thread->sees && !thread->since[place_of(last)];
  }
#pragma unroll
  for (int i = 0; i < CHOICES; i++)
    if (last != NO_SLOT && ((preference >> (i * 8)) & 0xff) == last)
      turn = i + 1;

#pragma unroll
  for (int i = 0; i < CHOICES; i++, turn++) {
    u32 slot = (preference >> ((turn % CHOICES) * 8)) & 0xff;
    struct server *server = servers.lookup(&slot);
    struct heard *all = heard.lookup(&slot);
    if (!server || !all || !reachable(server, from_ipv6)) /* NO_SLOT's is never READY */
      continue;

    u32 place = place_of(slot), unheard = now - all->replied;
    u32 one = waited(socket->queries[place].since, now);
    u32 other = thread ? waited(thread->since[place], now) : 0;
    bool silent = is_udp && (is_silent(one, unheard, slot == last) ||
                             is_silent(other, unheard, slot == last));
    u32 newest = !one || (other && other < one) ? other : one;
    if (silent)
      note_silent(server, all, thread, place, now);
    if (silent && answered && now - all->probed >= PROBE) {
      all->probed = now;
      silent = false;
    }
    /* It may have refused a connected socket, which nobody sees: the next try goes
     * elsewhere, be it to one that was silent, and the others to one that owes no
     * answer, where there is one. */
    u32 of_socket = socket->queries[place].since;
    u32 of_thread = thread ? thread->since[place] : 0;
    if (is_udp && connects && slot == last && (of_socket || of_thread) && found)
      continue;
    bool owes = is_udp && connects && !silent &&
                (is_owing(of_socket, now) || is_owing(of_thread, now));
    if (silent)
      passed = true;
    if (found && (silent ? owing || newest <= longest : owes && owing))
      continue;
    found = server;
    *chosen = slot;
    longest = newest;
    owing = owes;
    was_silent = silent;
    if (last == NO_SLOT)
      vip->cursor = turn % CHOICES;
    if (!silent && !owes)
      break;
  }
  if (found && passed && !was_silent && thread && thread->sees)
    __sync_fetch_and_add(&vip->failures, 1); /* a query led past a silent server */
  return found;
}

/* The server to lead this socket to, noted with the thread and the socket; NULL: none,
 * or the caller may not ask. */
static __always_inline struct server *ask(struct bpf_sock_addr *ctx, bool from_ipv6,
                                          bool connects) {
  struct vip_key key = {.address = VIP_ADDRESS, .port = VIP_PORT};
  struct vip *vip = vips.lookup(&key);
  if (!vip || !may_ask())
    return NULL;
  struct asked *socket =
      asked.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!socket) /* its replies would come from a stranger */
    return NULL;

  u64 task = bpf_get_current_task();
  struct asker *thread = askers.lookup(&task);
  bool is_udp = ctx->type != SOCK_STREAM;
  u32 now = (u32)bpf_jiffies64() | 1, slot = 0;
  struct server *server =
      pick(vip, socket, thread, from_ipv6, is_udp, connects, now, &slot);
  if (!server)
    return NULL;
  __sync_fetch_and_add(&server->connects, 1);
  __sync_fetch_and_add(&vip->connects, 1);

  u32 place = place_of(slot);
  if (thread) {
    if (is_udp)
      thread->since[place] = asked_since(thread->since[place], now);
    thread->last = slot;
  } else {
    struct asker fresh = {.last = slot};
    askers.update(&task, &fresh); /* if it fails there is no memory but the socket's */
    thread = askers.lookup(&task);
    if (thread && is_udp)
      thread->since[place] = now;
  }

  struct query *query = &socket->queries[place];
  query->since = is_udp ? asked_since(query->slot == slot ? query->since : 0, now) : 0;
  query->thread = task;
  query->slot = slot;
  query->port = server->port;
  if (from_ipv6 && has_ipv6(server)) {
    query->server[0] = server->ipv6[0];
    query->server[1] = server->ipv6[1];
    query->server[2] = server->ipv6[2];
    query->server[3] = server->ipv6[3];
  } else {
    query->server[0] = query->server[1] = 0;
    query->server[2] = MAPPED_PREFIX;
    query->server[3] = server->ipv4;
  }
  socket->last = slot;
  socket->port = VIP_PORT;
  socket->address = VIP_ADDRESS;
  return server;
}

static __always_inline bool is_dns(struct bpf_sock_addr *ctx) {
  return ctx->type == SOCK_STREAM || ctx->protocol == IPPROTO_UDP;
}

static __always_inline void note_connected(struct bpf_sock_addr *ctx) {
  struct asked *socket = asked.sk_storage_get(ctx->sk, 0, 0);
  if (!socket)
    return;
  u64 cookie = bpf_get_socket_cookie(ctx), slot = socket->last;
  connected.update(&cookie, &slot);
}

int connect4(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip4 != VIP_ADDRESS || ctx->user_port != VIP_PORT || !is_dns(ctx))
    return ALLOW;
  struct server *server = ask(ctx, false, true);
  if (!server)
    return REFUSE; /* the VIP must never reach the wire */
  lead4(ctx, server);
  note_connected(ctx);
  return ALLOW;
}

int connect6(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip6[3] != VIP_ADDRESS || ctx->user_port != VIP_PORT ||
      !is_mapped(ctx) || !is_dns(ctx))
    return ALLOW;
  struct server *server = ask(ctx, true, true);
  if (!server)
    return REFUSE;
  lead6(ctx, server);
  note_connected(ctx);
  return ALLOW;
}

int sendmsg4(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip4 != VIP_ADDRESS || ctx->user_port != VIP_PORT || !is_dns(ctx))
    return ALLOW;
  struct bpf_sock *sk = ctx->sk;
  u16 peer_port = *(u16 *)&sk->dst_port;
  if (sk->state == TCP_ESTABLISHED && peer_port == SERVER_PORT) {
    /* It is connected, most likely through the VIP, and hears nobody else. */
    ctx->user_ip4 = sk->dst_ip4;
    ctx->user_port = peer_port;
    return ALLOW;
  }
  struct server *server = ask(ctx, false, false);
  if (!server)
    return REFUSE;
  lead4(ctx, server);
  return ALLOW;
}

/* The socket's memory, if it asked the server with this address; `place` becomes the
 * query's. */
static __always_inline struct asked *find(struct bpf_sock_addr *ctx, u32 a, u32 b,
                                          u32 c, u32 d, u32 *place) {
  struct asked *socket = asked.sk_storage_get(ctx->sk, 0, 0);
  if (!socket)
    return NULL;
#pragma unroll
  for (int i = 0; i < CHOICES; i++) {
    struct query *query = &socket->queries[i];
    if (query->server[3] == d && query->port == ctx->user_port &&
        query->server[2] == c && query->server[1] == b && query->server[0] == a) {
      *place = i;
      return socket;
    }
  }
  return NULL;
}

/* A reply came: the server is not silent to whoever asked. */
static __always_inline void note_reply(struct asked *socket, u32 at) {
  u32 place = place_of(at);
  struct query *query = &socket->queries[place];
  query->since = 0;
  u32 slot = query->slot;
  struct heard *all = heard.lookup(&slot);
  if (all)
    all->replied = (u32)bpf_jiffies64() | 1;
  u64 task = query->thread;
  struct asker *thread = askers.lookup(&task);
  if (thread) {
    thread->since[place] = 0;
    thread->sees = 1;
    thread->counted &= ~(1 << place);
  }
}

static __always_inline void show4(struct bpf_sock_addr *ctx, bool is_reply) {
  if (ctx->user_port != SERVER_PORT)
    return;
  u32 place = 0;
  struct asked *socket = find(ctx, 0, 0, MAPPED_PREFIX, ctx->user_ip4, &place);
  if (!socket)
    return;
  if (is_reply)
    note_reply(socket, place);
  ctx->user_ip4 = socket->address;
  ctx->user_port = socket->port;
}

static __always_inline void show6(struct bpf_sock_addr *ctx, bool is_reply) {
  if (ctx->user_port != SERVER_PORT)
    return;
  u32 place = 0;
  struct asked *socket = find(ctx, ctx->user_ip6[0], ctx->user_ip6[1],
                              ctx->user_ip6[2], ctx->user_ip6[3], &place);
  if (!socket)
    return;
  if (is_reply)
    note_reply(socket, place);
  ctx->user_ip6[0] = ctx->user_ip6[1] = 0;
  ctx->user_ip6[2] = MAPPED_PREFIX;
  ctx->user_ip6[3] = socket->address;
  ctx->user_port = socket->port;
}

int recvmsg4(struct bpf_sock_addr *ctx) {
  show4(ctx, true);
  return ALLOW;
}

int recvmsg6(struct bpf_sock_addr *ctx) {
  show6(ctx, true);
  return ALLOW;
}

int getpeername4(struct bpf_sock_addr *ctx) {
  show4(ctx, false);
  return ALLOW;
}

int getpeername6(struct bpf_sock_addr *ctx) {
  show6(ctx, false);
  return ALLOW;
}
