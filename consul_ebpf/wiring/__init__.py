"""From a configuration to the parts: the one place that knows which part is which.

`files.py` makes what is read and written on this host, `consul.py` what asks Consul,
`host.py` the kernel's side, the sources of proxies, and the whole runner.
"""
