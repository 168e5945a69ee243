/* The DNS VIP: replace it by a live Consul server's DNS port, and in the replies the
 * server by the VIP.
 *
 * connect4 and connect6 lead connected sockets, UDP and TCP; sendmsg4 leads datagrams
 * that are sent with an address. It sees those of AF_INET6 sockets to the mapped VIP,
 * too: sendmsg6 is never called for a mapped address. recvmsg and getpeername show the
 * VIP in the server's place, because a resolver drops a reply from any other address.
 *
 * UDP has no connection that shows that a server is silent. So for each thread and each
 * socket it is noted which servers were asked and have not answered yet. The next query
 * skips those that had enough time to answer, and goes to the next server in turn.
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

/* A thread that asks. Its key is the address of its task_struct, because these hooks can
 * read a thread's id only since Linux 6.10. */
struct asker {
  u32 since[CHOICES]; /* by slot % CHOICES: see struct query */
  u8 last;            /* slot of its newest query */
  u8 sees;            /* a reply to this thread was seen; those of some never are */
  u8 counted;         /* bits, by slot % CHOICES: the server was counted as silent */
  u8 zero;
};

/* The queries of a socket to one server. */
struct query {
  u64 thread;
  u32 server[4]; /* IPv4 is mapped */
  u16 port;      /* zero: none */
  u16 slot;
  u32 since; /* jiffies (odd) at the oldest query without a reply; zero: none */
};

/* A socket that asks. This lives as long as the socket, so no other one's can take its
 * place. */
struct asked {
  u32 address; /* the VIP as it was then; zero: none yet */
  u16 port;
  u16 last; /* slot of its newest query */
  struct query queries[CHOICES]; /* by slot % CHOICES */
};

/* What this host as a whole knows of a server. */
struct heard {
  u32 replied; /* jiffies at the newest reply to anybody */
  u32 probed;  /* jiffies when it was last found silent, or asked in spite of that */
};

/* A cgroup: what is in or below it may ask. */
struct cgroup {
  u64 id; /* zero: none */
  u64 level;
};

PINNED_TABLE("array", u32, struct cgroup, cgroups, MAX_CGROUPS, 0, PIN_CGROUPS);
PINNED_TABLE("array", u32, struct heard, heard, SLOTS, 0, PIN_HEARD);
PINNED_TABLE("lru_hash", u64, struct asker, askers, MAX_ASKERS, 0, PIN_ASKERS);
/* The newest connected sockets, by cookie, and the slot that each leads to. User space
 * cuts the sockets of a dead server. */
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

/* For how many jiffies a server has not answered; zero: it has, or was not asked. */
static __always_inline u32 waited(u32 since, u32 now) {
  return since ? now - since : 0;
}

/* Whether a server that was asked had the time to answer, and has answered nobody since.
 * After FORGET it may be asked again, but never by the query right after the one it did
 * not answer. */
static __always_inline bool is_silent(u32 waited, u32 unheard, bool was_last) {
  if (waited < QUIET)
    return false;
  return was_last || (waited < FORGET && unheard >= waited);
}

/* Whether a server has not answered yet, and still has time to. */
static __always_inline bool is_owing(u32 since, u32 now) {
  return since && now - since < QUIET;
}

/* The new `since` of a server that is asked now. One that was silent stays silent, as if
 * it was asked QUIET ago: other queries skip it until it answers. */
static __always_inline u32 asked_since(u32 since, u32 now) {
  if (!since)
    return now;
  return now - since < QUIET ? since : now - QUIET;
}

/* The index of a slot. The verifier must see its bound; the asm keeps clang from
 * dropping it. */
static __always_inline u32 place_of(u32 slot) {
  asm volatile("" : "+r"(slot));
  return slot & (CHOICES - 1);
}

/* Counts once that a server is silent to a thread; only if replies to the thread are
 * seen, because nothing is known of others. */
static __always_inline void note_silent(struct server *server, struct heard *all,
                                        struct asker *thread, u32 place, u32 now) {
  if (thread && thread->sees && !(thread->counted & (1 << place))) {
    thread->counted |= 1 << place;
    all->probed = now;
    __sync_fetch_and_add(&server->failures, 1);
  }
}

/* Returns the next server in turn that is not silent to this thread or socket; `chosen`
 * becomes its slot. If all are silent, it is the one asked longest ago, so that as many
 * tries as there are servers reach each of them. Every PROBE, one query whose asker has
 * just been answered tests for the whole host whether a silent server answers again. TCP
 * replies are not seen, so for TCP it is simply the next server in turn. */
static __always_inline struct server *pick(struct vip *vip, struct asked *socket,
                                           struct asker *thread, bool from_ipv6,
                                           bool is_udp, bool connects, u32 now,
                                           u32 *chosen) {
  u64 preference = *(volatile u64 *)&vip->preference;
  u64 turn = vip->cursor + 1; /* for those who ask for the first time */
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
    /* The last server may have refused a connected socket, which no hook sees. So the
     * next try goes to another server, even to a silent one; and queries at the same time
     * go to a server that owes no answer, if there is one. */
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

/* Returns the server to lead this socket to, and notes it for the thread and the socket.
 * NULL: no server is ready, or the caller may not ask. */
static __always_inline struct server *ask(struct bpf_sock_addr *ctx, bool from_ipv6,
                                          bool connects) {
  struct vip_key key = {.address = VIP_ADDRESS, .port = VIP_PORT};
  struct vip *vip = vips.lookup(&key);
  if (!vip || !may_ask())
    return NULL;
  struct asked *socket =
      asked.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!socket) /* replies could not be shown as the VIP's */
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
    askers.update(&task, &fresh); /* if it fails, only the socket's state is kept */
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
  u64 cookie = cookie_of(ctx), slot = socket->last;
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
    /* It is connected, most likely through the VIP, and receives from nobody else. */
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

/* Returns the socket's state if it asked the server with this address; `place` becomes
 * the index of its queries. */
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

/* A reply came: the server is silent neither to this socket nor to the thread that
 * asked. */
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
