"""Print docs/metrics.md."""

import sys

from consul_ebpf.views.metrics.names import document

sys.stdout.write(document())
