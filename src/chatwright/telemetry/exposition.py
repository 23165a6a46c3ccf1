"""Several processes' metrics as one page for Prometheus. Called by `/metrics`.

Each series gets the label `process`: counts of two processes are never added up here, because a counter that starts
again with its process must be seen as such.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def merge_metrics(texts: Mapping[str, str]) -> bytes:
    """Join pages in Prometheus' text form, by process name: one block per metric, every series labelled `process`."""
    families: dict[str, Metric] = {}
    for process, text in texts.items():
        for family in text_string_to_metric_families(text):
            merged = families.get(family.name)
            if merged is None:
                merged = families[family.name] = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                merged.samples.append(sample._replace(labels={**sample.labels, "process": process}))
    return generate_latest(cast("CollectorRegistry", _Page(families)))


class _Page:
    """Looks like a registry to `generate_latest`."""

    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families.values())
