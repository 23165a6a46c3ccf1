"""Several processes' metrics on one page: nothing lost, nothing added up, each block once."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chatwright.telemetry.exposition import merge_metrics
from chatwright.telemetry.metrics import Metrics


def page(hits: int, tenant: str = "t") -> str:
    metrics = Metrics()
    metrics.cache_hits.labels(tenant).inc(hits)
    metrics.queue_wait_seconds.labels("ai-standard").observe(0.02)
    return generate_latest(metrics.registry).decode()


@given(counts=st.dictionaries(st.sampled_from(["api", "worker", "a-1", "b-2"]), st.integers(1, 1000), min_size=1))
def test_every_series_is_there_once_under_its_process(counts: dict[str, int]) -> None:
    merged = merge_metrics({name: page(hits) for name, hits in counts.items()}).decode()
    found = {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(merged)
        for sample in family.samples
        if sample.name == "ai_cache_hits_total"
    }
    assert found == counts
    for line in merged.splitlines():
        if line.startswith("# TYPE"):
            assert merged.count(f"{line}\n") == 1


def test_histograms_keep_their_buckets_and_labels_with_quotes() -> None:
    merged = merge_metrics({"w": page(1, tenant='say "hi"\\n')}).decode()
    families = {family.name: family for family in text_string_to_metric_families(merged)}
    assert families["ai_queue_wait_seconds"].type == "histogram"
    assert any(sample.labels.get("le") == "+Inf" for sample in families["ai_queue_wait_seconds"].samples)
    assert families["ai_cache_hits"].samples[0].labels["tenant_id"] == 'say "hi"\\n'
