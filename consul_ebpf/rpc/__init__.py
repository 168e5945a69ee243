"""gRPC to the Consul servers: channels, messages, and calls that find a live server."""
