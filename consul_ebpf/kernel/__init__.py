"""The kernel's side: tables, pins, links, and the child that loads the program.

`program.py` says what is loaded: a source, its hooks and tables. `codec.py` says what
the bytes are, `libbpf.py` makes the system calls (`btf.py` the types that some need)
and `objects.py` those that ask what an object is, `maps.py` and `tables.py` make, open
and read tables, `pins.py` keeps the directory in bpffs. `loader_child.py` runs in a
short-lived child and is the only importer of BCC (`loader.py` is the parent's side of
it); `install.py` puts a version in place (`installed.py`), `links.py` attaches it,
`watchdog.py` puts back what others take away. `diff.py` decides what to write, and
`backend.py` puts these together as `BccMapBackend`; `askers.py` keeps which cgroups may
ask DNS. `trial.py` connects through a VIP of its own, for `doctor`. `host.py` looks at
mounts and cgroups. What needs privileges while the controller runs is asked of a
helper: `helper.py` asks its guards (`guards.py`); each of them, `namespaces_child.py`,
forks a process for each request, `requests.py` has them; `sockets.py` looks at sockets
and `netns.py` into network namespaces there, and `namespaces.py` makes a `Namespaces`
of it. `capabilities.py` and `privileges.py` say which privileges those are.
"""
