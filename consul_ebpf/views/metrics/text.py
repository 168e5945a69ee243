"""The metrics as Prometheus' text."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from consul_ebpf.base.timing import Duration
from consul_ebpf.views.metrics.names import METRICS
from consul_ebpf.views.metrics.values import Sample, values
from consul_ebpf.views.snapshot import Snapshot


def text(snapshot: Snapshot, bootstraps: Mapping[str, float]) -> tuple[bytes, str]:
    """Return the body and its content type; see `values` for what it is made of."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(values(snapshot, bootstraps)))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Once:
    """A collector of one moment."""

    def __init__(self, found: Mapping[str, list[Sample]]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        for metric in METRICS:
            labels = list(metric.labels)
            family: Any
            if metric.type == "counter":
                family = CounterMetricFamily(metric.name, metric.help, labels=labels)
            elif metric.type == "gauge":
                family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
            else:
                family = SummaryMetricFamily(metric.name, metric.help, labels=labels)
            for values_, value in self._found.get(metric.name, []):
                if isinstance(value, Duration):
                    family.add_metric(list(values_), value.count, value.seconds)
                else:
                    family.add_metric(list(values_), value)
            yield family
