"""How Consul is asked: HTTP, gRPC, TLS, its ACL system."""
