/* The tables: bounds and structs shared with user space.
 * consul_ebpf/kernel/codec.py mirrors every struct here; change both together and
 * raise LAYOUT there. Rows grow only at their end: an upgrade and a downgrade carry
 * what both versions know.
 *
 * Addresses and ports are in network byte order. The loader defines MAX_VIPS and the
 * paths (PIN_...) the tables are pinned at.
 */
#pragma once

#define SLOTS 256  /* rows of the server table; a slot is its index */
#define NO_SLOT 0xff
#define CHOICES 8  /* longest preference; a power of two */
#define RECENT 4   /* newest sockets remembered for each VIP; a power of two */

enum server_state { EMPTY = 0, READY = 1, FAILING = 2, DRAINING = 3 };

/* A row's address changes only while its state is EMPTY, so a reader that sees READY
 * sees one server's address and port, never parts of two. */
struct server {
  u32 ipv6[4]; /* all zero: none */
  u32 ipv4;    /* zero: none */
  u16 port;
  u8 state;
  u8 zero;
  u32 connects; /* counted here: a row is half a cache line, and no other is touched */
  u32 failures; /* connects followed by a retry within the window */
};

struct vip_key {
  u32 address; /* IPv4; ::ffff:127.64.0.1 is the same VIP as 127.64.0.1 */
  u16 port;
  u16 zero;
};

struct vip {
  u64 preference; /* CHOICES slots, one a byte, first choice lowest; read at once */
  u64 last;       /* jiffies at the newest connect */
  u64 connects;
  u64 cursor;     /* index into preference of the newest pick */
  /* A ring, by connects: the socket's cookie, by which sock_diag finds it, times
   * SLOTS, plus the slot it was sent to. */
  u64 recent[RECENT];
  /* Since layout 2: who may use the VIP. */
  u64 netns;  /* network namespace's cookie; zero: any */
  u64 cgroup; /* id of a cgroup the caller is in or below; zero: any */
  u32 level;  /* that cgroup's depth */
  u32 failures; /* connects followed by a retry within the window */
};

/* BPF_F_TABLE with a pin path: the table pinned there is used; if there is none, one is
 * made. */
#define PINNED_TABLE(_type, _key, _leaf, _name, _size, _flags, _path)            \
  struct _name##_table_t {                                                       \
    _key key;                                                                    \
    _leaf leaf;                                                                  \
    _leaf *(*lookup)(_key *);                                                    \
    int (*update)(_key *, _leaf *);                                              \
    int max_entries;                                                             \
    int flags;                                                                   \
  };                                                                             \
  __attribute__((section("maps/" _type ":" _path))) struct _name##_table_t _name = { \
      .flags = (_flags), .max_entries = (_size)}

PINNED_TABLE("array", u32, struct server, servers, SLOTS, 0, PIN_SERVERS);
/* Memory is allocated for each row as it comes, not for MAX_VIPS at once. */
PINNED_TABLE("hash", struct vip_key, struct vip, vips, MAX_VIPS, BPF_F_NO_PREALLOC,
             PIN_VIPS);
