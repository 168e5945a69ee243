"""What can be seen of a host: status, the local endpoint, metrics."""
