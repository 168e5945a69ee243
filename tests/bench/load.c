/* A client and the server at the other end of its connections, in one process.
 *
 *   load LISTEN_PORT
 *
 * The server listens there at every address. Commands come by standard input:
 *
 *   to FAMILY ADDRESS PORT SPREAD
 *                 From now on, connects go to so many addresses in turn, from this one on;
 *                 FAMILY 6: by AF_INET6 sockets, to mapped addresses.
 *
 * Each of the others is answered with a line of numbers:
 *
 *   connect N     ns of connect() alone: the median of N; nobody else runs meanwhile
 *   first N       ns from before connect() until the first byte came back: the median of N
 *   rate MS T     connects a second, each used for a byte both ways, by T threads
 *   trip N        ns of a byte there and back on one connection: median, 99th of a hundred
 *   query N       ns of a DNS query for web.service.consul, by a socket of its own, from
 *                 socket() to the answer: median, 99th of a hundred
 *   flow MB       MB/s on one connection, until the server has read all of it
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ECHO 'e' /* the first byte of a connection: each byte is sent back */
#define SINK 's' /* ... all is read, and a byte sent back at the end */
#define BUFFER (256 * 1024)
#define BATCH 1024 /* connections open at a time, fewer than the listener's backlog */
#define MOST_DESCRIPTORS 65536

static int family, listener, stop, poll;
static uint16_t target_port;
static uint32_t target, spread, turn;
static cpu_set_t cores;

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

/* Keeps a thread on one of the cores that this process may use, so that rounds differ
 * less. The first is the client's, the last the server's. */
static void stay_on(pthread_t thread, int core) {
  cpu_set_t only;
  CPU_ZERO(&only);
  for (int i = 0, left = core % CPU_COUNT(&cores); i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &cores) && left-- == 0)
      CPU_SET(i, &only);
  pthread_setaffinity_np(thread, sizeof only, &only);
}

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int compare(const void *a, const void *b) {
  int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
  return (one > other) - (one < other);
}

/* Makes a socket that is reset when it is closed, so that nothing is left of it. */
static int new_socket(void) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0;
  struct linger reset = {1, 0};
  if (fd < 0)
    fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  return fd;
}

static socklen_t next_address(struct sockaddr_storage *at) {
  uint32_t where = htonl(target + __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % spread);
  memset(at, 0, sizeof *at);
  if (family == AF_INET) {
    struct sockaddr_in *ip = (struct sockaddr_in *)at;
    ip->sin_family = AF_INET;
    ip->sin_port = htons(target_port);
    ip->sin_addr.s_addr = where;
    return sizeof *ip;
  }
  struct sockaddr_in6 *ip = (struct sockaddr_in6 *)at;
  ip->sin6_family = AF_INET6;
  ip->sin6_port = htons(target_port);
  ip->sin6_addr.s6_addr[10] = ip->sin6_addr.s6_addr[11] = 0xff;
  memcpy(&ip->sin6_addr.s6_addr[12], &where, 4);
  return sizeof *ip;
}

/* Connects; returns how long connect() took. */
static int64_t connect_next(int fd) {
  struct sockaddr_storage at;
  socklen_t size = next_address(&at);
  int64_t begun = now();
  if (connect(fd, (struct sockaddr *)&at, size))
    fail("connect");
  return now() - begun;
}

static void drop_accepted(void) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
    close(fd);
}

static void await(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event))
    fail("epoll_ctl");
}

static void *serve(void *unused) {
  static char buffer[BUFFER], kind[MOST_DESCRIPTORS];
  int on = 1;
  for (;;) {
    struct epoll_event events[64];
    int count = epoll_wait(poll, events, 64, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == stop)
        return unused;
      if (fd == listener) {
        int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (peer < 0)
          continue;
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        kind[peer] = 0;
        await(peer);
        continue;
      }
      ssize_t size = read(fd, buffer, sizeof buffer);
      if (size > 0 && !kind[fd])
        kind[fd] = buffer[0];
      if (size > 0 && kind[fd] == ECHO)
        size = write(fd, buffer, size);
      else if (size == 0 && kind[fd] == SINK)
        size = write(fd, "", 1) - 1;
      if (size == 0 || (size < 0 && errno != EAGAIN))
        close(fd);
    }
  }
}

static pthread_t server;

static void start_server(void) {
  pthread_create(&server, NULL, serve, NULL);
  stay_on(server, CPU_COUNT(&cores) - 1);
}

static void stop_server(void) {
  uint64_t one = 1;
  if (write(stop, &one, sizeof one) < 0)
    fail("eventfd");
  pthread_join(server, NULL);
  if (read(stop, &one, sizeof one) < 0)
    fail("eventfd");
}

static void exchange_byte(int fd) {
  char byte = ECHO;
  if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
    fail("a byte there and back");
}

static int64_t *samples_of(long count) {
  int64_t *samples = malloc(count * sizeof *samples);
  if (!samples)
    fail("malloc");
  return samples;
}

static void measure_connect(long count) {
  static int open[BATCH];
  int64_t *samples = samples_of(count);
  for (long done = 0; done < count;) {
    int size = count - done < BATCH ? count - done : BATCH;
    for (int i = 0; i < size; i++)
      open[i] = new_socket();
    for (int i = 0; i < size; i++)
      samples[done++] = connect_next(open[i]);
    for (int i = 0; i < size; i++)
      close(open[i]);
    drop_accepted();
  }
  qsort(samples, count, sizeof *samples, compare);
  printf("%ld\n", (long)samples[count / 2]);
  free(samples);
}

static void measure_first(long count) {
  int64_t *samples = samples_of(count);
  for (long i = 0; i < count; i++) {
    int fd = new_socket();
    int64_t begun = now();
    connect_next(fd);
    exchange_byte(fd);
    samples[i] = now() - begun;
    close(fd);
  }
  qsort(samples, count, sizeof *samples, compare);
  printf("%ld\n", (long)samples[count / 2]);
  free(samples);
}

struct worker {
  pthread_t thread;
  int64_t until;
  long done;
};

static void *connect_until(void *argument) {
  struct worker *worker = argument;
  for (; now() < worker->until; worker->done++) {
    int fd = new_socket();
    connect_next(fd);
    exchange_byte(fd);
    close(fd);
  }
  return NULL;
}

static void measure_rate(long ms, long threads) {
  struct worker workers[64];
  int64_t begun = now();
  long done = 0;
  for (long i = 0; i < threads && i < 64; i++) {
    workers[i] = (struct worker){.until = begun + ms * 1000000};
    pthread_create(&workers[i].thread, NULL, connect_until, &workers[i]);
    stay_on(workers[i].thread, i);
  }
  for (long i = 0; i < threads && i < 64; i++) {
    pthread_join(workers[i].thread, NULL);
    done += workers[i].done;
  }
  printf("%.1f\n", done * 1e9 / (now() - begun));
}

static void measure_trip(long count) {
  int64_t *samples = samples_of(count);
  int fd = new_socket();
  connect_next(fd);
  for (int i = 0; i < 20; i++)
    exchange_byte(fd);
  for (long i = 0; i < count; i++) {
    int64_t begun = now();
    exchange_byte(fd);
    samples[i] = now() - begun;
  }
  close(fd);
  qsort(samples, count, sizeof *samples, compare);
  printf("%ld %ld\n", (long)samples[count / 2], (long)samples[count * 99 / 100]);
  free(samples);
}

static void measure_flow(long megabytes) {
  static char buffer[BUFFER];
  int fd = new_socket();
  int64_t left = megabytes * 1000000;
  buffer[0] = SINK;
  connect_next(fd);
  int64_t begun = now();
  while (left > 0) {
    ssize_t size = write(fd, buffer, left < BUFFER ? left : BUFFER);
    if (size < 0)
      fail("write");
    left -= size;
  }
  shutdown(fd, SHUT_WR);
  if (read(fd, buffer, 1) != 1)
    fail("the last byte");
  printf("%.1f\n", megabytes * 1e9 / (now() - begun));
  close(fd);
}

/* As glibc asks: a new socket, connected; what is received has its sender looked at. */
static void ask(uint16_t id) {
  static const char question[] = "\3web\7service\6consul\0\0\1\0\1";
  unsigned char query[12 + sizeof question - 1] = {0, 0, 1, 0, 0, 1}, reply[512];
  struct sockaddr_storage at;
  struct timeval most = {.tv_sec = 5};
  int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  socklen_t size = next_address(&at);
  memcpy(query, &id, sizeof id);
  memcpy(query + 12, question, sizeof question - 1);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  if (connect(fd, (struct sockaddr *)&at, size))
    fail("connect");
  if (send(fd, query, sizeof query, 0) < 0)
    fail("send");
  size = sizeof at;
  ssize_t got = recvfrom(fd, reply, sizeof reply, 0, (struct sockaddr *)&at, &size);
  if (got < 12 || memcmp(reply, query, 2) || (reply[3] & 15) || !reply[7])
    fail("a DNS answer with a record");
  close(fd);
}

static void measure_query(long count) {
  int64_t *samples = samples_of(count);
  for (long i = 0; i < count; i++) {
    int64_t begun = now();
    ask(i);
    samples[i] = now() - begun;
  }
  qsort(samples, count, sizeof *samples, compare);
  printf("%ld %ld\n", (long)samples[count / 2], (long)samples[count * 99 / 100]);
  free(samples);
}

static void listen_everywhere(uint16_t port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int on = 1, off = 0;
  listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 4 * BATCH))
    fail("listen");
}

static void aim(const char *line) {
  char text[64];
  int kind, port, count;
  struct in_addr address;
  if (sscanf(line, "to %d %63s %d %d", &kind, text, &port, &count) != 4 ||
      !inet_aton(text, &address))
    fail("to FAMILY ADDRESS PORT SPREAD");
  family = kind == 6 ? AF_INET6 : AF_INET;
  target = ntohl(address.s_addr);
  target_port = port;
  spread = count;
}

static void measure(const char *what, long number, long more) {
  drop_accepted();
  if (!strcmp(what, "query")) {
    measure_query(number);
    return;
  }
  if (!strcmp(what, "connect")) { /* without a server that wakes up */
    measure_connect(number);
    return;
  }
  start_server();
  if (!strcmp(what, "first"))
    measure_first(number);
  else if (!strcmp(what, "rate"))
    measure_rate(number, more);
  else if (!strcmp(what, "trip"))
    measure_trip(number);
  else if (!strcmp(what, "flow"))
    measure_flow(number);
  else
    fail(what);
  stop_server();
}

int main(int argc, char **argv) {
  if (argc != 2)
    fail("load LISTEN_PORT");
  signal(SIGPIPE, SIG_IGN);
  sched_getaffinity(0, sizeof cores, &cores);
  stay_on(pthread_self(), 0);
  stop = eventfd(0, EFD_CLOEXEC);
  poll = epoll_create1(EPOLL_CLOEXEC);
  listen_everywhere(atoi(argv[1]));
  await(stop);
  await(listener);
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (char line[128], what[16]; fgets(line, sizeof line, stdin);) {
    long number = 0, more = 0;
    if (sscanf(line, "%15s %ld %ld", what, &number, &more) < 1)
      continue;
    if (!strcmp(what, "to"))
      aim(line);
    else
      measure(what, number, more);
  }
}
