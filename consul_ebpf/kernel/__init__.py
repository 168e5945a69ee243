"""The kernel's side: the programs, their tables, pins and links, and what needs root.

Programs and tables: `program.py` has the two programs as values: source, hooks, tables.
`codec.py` has the bytes of the rows, `maps.py` opened maps, `tables.py` a program's
tables. `diff.py` decides what to write, and `backend.py` puts all together as
`BccMapBackend`. `askers.py` keeps the cgroups that may ask DNS.

System calls: `libbpf.py` makes, pins and attaches, `objects.py` asks about maps, links
and programs; `btf.py` has the types that some maps need.

A start: `install.py` puts a program in place (`installed.py`). `pins.py` keeps its
directory in bpffs, which `host_lock.py` locks. `loader.py` runs `loader_child.py`, a
short-lived child and the only importer of BCC. `links.py` attaches, and `watchdog.py`
puts back what others remove. `host.py` looks at mounts and cgroups.

Privileges: `capabilities.py`, `privileges.py` and `unprivileged.py` say which
capabilities are needed and kept. The controller asks the helper (`helper.py`,
`guards.py`), whose guards (`namespaces_child.py`) fork a process for each request in
`requests.py`: `sockets.py` (by `sock_diag.py`) sees and cuts sockets, `netns.py` enters
network namespaces. `namespaces.py` offers this as `Namespaces`, `closed_files.py` reads
files by it, and `pods.py` finds the namespaces and cgroups of proxies.

For `doctor`, `trial.py` connects through a VIP of its own, in the directories of
`scratch.py`; `inotify.py` looks after a limit that Envoys need.
"""
