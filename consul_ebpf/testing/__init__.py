"""In-memory parts, for tests of programs that embed this package.

Each passes the same contract tests as the real part.
"""

from consul_ebpf.testing.acl import FakeAcl
from consul_ebpf.testing.cluster import FakeCluster
from consul_ebpf.testing.kubelet import FakeKubelet, FakePod
from consul_ebpf.testing.maps import MemoryMapBackend
from consul_ebpf.testing.mounts import FakeMounts
from consul_ebpf.testing.namespaces import FakeNamespaces
from consul_ebpf.testing.servers import FakeProbe, FakeServerSource
from consul_ebpf.testing.workloads import FakeWorkloads

__all__ = [
    "FakeAcl",
    "FakeCluster",
    "FakeKubelet",
    "FakeMounts",
    "FakeNamespaces",
    "FakePod",
    "FakeProbe",
    "FakeServerSource",
    "FakeWorkloads",
    "MemoryMapBackend",
]
