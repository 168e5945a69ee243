"""The pods' volumes: what kubelet says of each, and the proxy that it is for."""
