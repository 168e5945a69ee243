"""What the servers' DNS ports are asked: the health probe of a server's DNS."""
