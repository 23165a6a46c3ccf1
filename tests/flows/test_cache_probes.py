"""A short run of the cache drill: no question is given another's answer. 10,000: `python -m bench.drill.cache_probes`."""

import pytest

from bench.drill.cache_probes import Probing
from bench.simulator import Simulator
from bench.simulator.marking import Mark, mark_of
from chatwright.pipeline.services import Services
from tests.flows.conftest import OpenApp, running_worker


@pytest.mark.timeout(120)
async def test_no_hit_carries_another_scopes_mark(
    app: Services, open_app: OpenApp, simulator: Simulator, valkey_url: str
) -> None:
    async with open_app() as elsewhere, running_worker(app, valkey_url):
        report = await Probing(app, simulator, seed=7, elsewhere=elsewhere).run(450, rounds=3)
    assert report.wrong == []
    assert report.asked == 450
    hits = {name.partition(":")[2] for name in report.results}
    # Both tiers gave answers: a drill in which nothing is ever given again would prove nothing.
    assert {"exact", "semantic", "miss", "bypass"} <= hits
    # All that was asked again once its answer was kept; how many more there are hangs on who comes first.
    assert report.given_again == 3 * 8
    assert "chat:failed" not in report.results


def test_a_mark_tells_what_was_asked() -> None:
    body = b'{"model":"m","stream":true,"messages":[{"role":"system","content":"Of zqshop."},%s{"role":"user","content":"%s"}]}'
    plain = mark_of(body % (b"", b"How  do I PAY?"), {})
    assert Mark.read(f"Well: {plain}") == plain
    assert mark_of(body % (b"", b"how do i pay"), {}) == plain
    assert plain.tokens == "zqshop"
    assert plain.history == "none"
    other = mark_of(body % (b'{"role":"user","content":"a"},{"role":"assistant","content":"b"},', b"how do i pay"), {})
    assert (other.shape, other.question) == (plain.shape, plain.question)
    assert other.history != plain.history
    assert mark_of(body.replace(b'"m"', b'"n"') % (b"", b"how do i pay"), {}).shape != plain.shape
    assert mark_of(body % (b"", b"how do i pay"), {plain.question: "g1"}).question == "g1"
    assert Mark.read("nothing") is None
