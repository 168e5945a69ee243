"""Makes the parts from a configuration: the one place that knows the concrete classes.

`files.py` makes what reads and writes files of this host, `consul.py` what asks Consul,
`looking.py` what commands ask besides, `dns.py` DNS, `endpoint.py` the local endpoint,
and `host.py` the kernel's side, the sources of proxies, and the whole runner.
"""
