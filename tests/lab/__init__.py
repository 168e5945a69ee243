"""Real parts for tests and the demo: Consul, Envoy, the controller, cgroup, bpffs.

Synchronous throughout. Everything is a context manager, and no process started here
outlives the one that started it, not even when that is killed. Needs Linux and
util-linux; scratch cgroups, bpffs and network namespaces need root.
"""
