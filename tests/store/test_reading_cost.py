"""What `bench.quality.reading_cost` measures, once for each kind of product: numbers of a real reader, in a fresh process."""

import pytest

from bench.quality.reading_cost import measure_cost


@pytest.mark.parametrize("floats", [False, True])
def test_a_fresh_process_tells_what_reading_costs(floats: bool) -> None:
    cost = measure_cost(["where is my parcel?", "thanks, that was quick!"] * 4, floats=floats)
    assert 0 < cost.heads_ms < cost.message_ms
    assert cost.bulk > 0
    assert 20 < cost.added_mb < cost.peak_mb  # the model's file alone has 22 MB
