/* Print the addresses of a name, each once; compiled with musl. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv)
{
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int error = getaddrinfo(argv[1], 0, &hints, &found);
  if (error) {
    fprintf(stderr, "%s\n", gai_strerror(error));
    return 1;
  }
  for (; found; found = found->ai_next) {
    char text[INET6_ADDRSTRLEN];
    void *address = found->ai_family == AF_INET
                        ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                        : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
    inet_ntop(found->ai_family, address, text, sizeof text);
    puts(text);
  }
  return 0;
}
