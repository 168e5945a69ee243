"""The kernel's side: tables, pins, links, and the child that loads the program.

`codec.py` says what the bytes are, `libbpf.py` makes the system calls, `loader.py`
runs in a short-lived child and is the only importer of BCC (`loading.py` is the
parent's side of it), `host.py` looks at mounts
and capabilities, `pins.py` keeps the directory in bpffs, `diff.py` decides what to
write and `backend.py` puts these together as `BccMapBackend`.
"""
