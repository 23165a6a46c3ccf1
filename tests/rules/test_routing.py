"""Fallback within one attempt budget: decided by pure rules, run over scripted wire formats."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.providers.base import Embeddings
from chatwright.domain.errors import ProviderError
from chatwright.domain.ids import CallId
from chatwright.domain.providers import Completion, Delta, Finish, Prompt, Route, Turn, Usage
from chatwright.features.routing import ProviderRun, Step, Target, next_step

GOOD = (Delta(text="Hel"), Delta(text="lo"), Delta(finish=Finish.STOP, usage=Usage(input_tokens=3, output_tokens=2)))


class Scripted:
    """A wire format that plays one script per call: deltas, then perhaps an error."""

    def __init__(self, *plays: tuple[Sequence[Delta], ProviderError | None]) -> None:
        self.plays = list(plays)

    async def stream(self, route: Route, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        deltas, error = self.plays.pop(0)
        for delta in deltas:
            yield delta
        if error is not None:
            raise error

    async def complete(self, route: Route, prompt: Prompt) -> Completion:
        deltas, error = self.plays.pop(0)
        if error is not None:
            raise error
        return Completion(text="".join(delta.text for delta in deltas), finish=Finish.STOP, usage=deltas[-1].usage)

    async def embed(self, route: Route, texts: Sequence[str]) -> Embeddings:
        raise NotImplementedError


class Journal:
    def __init__(self) -> None:
        self.opened: list[CallId] = []
        self.closed: list[tuple[CallId, str, Usage | None]] = []

    async def open(self, route: Route) -> CallId:
        call_id = CallId(f"{route.provider}-{len(self.opened)}")
        self.opened.append(call_id)
        return call_id

    def close(
        self, call_id: CallId, route: Route, state: str, usage: Usage | None, error: ProviderError | None
    ) -> None:
        self.closed.append((call_id, state, usage))


def target(name: str, *plays: tuple[Sequence[Delta], ProviderError | None], counts: bool = True) -> Target:
    return Target(Route(provider=name, model="m"), Scripted(*plays), counts)


def failure(*, retriable: bool = True, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError("down", retriable=retriable, upstream_status=500, retry_after_s=retry_after_s)


PROMPT = Prompt(turns=(Turn("user", "Hi"),))


async def spoken(run: ProviderRun) -> str:
    return "".join([delta.text async for delta in run.deltas()])


async def test_a_failure_before_the_first_text_goes_to_the_next_target() -> None:
    journal = Journal()
    run = ProviderRun(
        [target("a", ((), failure(retriable=False))), target("b", (GOOD, None))], PROMPT, journal, max_calls=3
    )
    assert await spoken(run) == "Hello"
    assert run.route is not None
    assert run.route.provider == "b"
    assert [(call, state) for call, state, _ in journal.closed] == [("a-0", "failed"), ("b-1", "ok")]


async def test_a_failure_after_visible_text_is_never_spliced() -> None:
    journal = Journal()
    run = ProviderRun([target("a", (GOOD[:1], failure())), target("b", (GOOD, None))], PROMPT, journal, max_calls=3)
    with pytest.raises(ProviderError):
        await spoken(run)
    (closed,) = journal.closed
    assert closed[1] == "cut"
    assert closed[2] is not None
    assert closed[2].estimated


async def test_a_stream_without_a_finish_marker_is_a_failure() -> None:
    journal = Journal()
    run = ProviderRun([target("a", (GOOD[:2], None))], PROMPT, journal, max_calls=1)
    with pytest.raises(ProviderError):
        await spoken(run)
    assert journal.closed[0][1] == "cut"


async def test_the_attempt_budget_holds_and_local_targets_cost_none() -> None:
    journal = Journal()
    down = ((), failure())
    run = ProviderRun(
        [target("a", *[down] * 9), target("b", *[down] * 9), target("local", (GOOD, None), counts=False)],
        PROMPT,
        journal,
        max_calls=2,
    )
    assert await spoken(run) == "Hello"
    assert [call.split("-")[0] for call in journal.opened] == ["a", "b", "local"]
    assert run.attempts == 2


async def test_a_spent_budget_calls_nobody() -> None:
    journal = Journal()
    with pytest.raises(ProviderError) as caught:
        await spoken(ProviderRun([target("a", (GOOD, None))], PROMPT, journal, max_calls=0))
    assert caught.value.error_class == "attempts_spent"
    assert journal.opened == []


async def test_leaving_early_closes_the_books() -> None:
    journal = Journal()
    run = ProviderRun([target("a", (GOOD, None))], PROMPT, journal, max_calls=1)
    deltas = run.deltas()
    await anext(deltas)
    await deltas.aclose()
    assert [(state, usage.estimated if usage else None) for _, state, usage in journal.closed] == [("cancelled", True)]


async def test_complete_falls_back_and_a_cancelled_call_is_booked() -> None:
    journal = Journal()
    run = ProviderRun(
        [target("a", ((), failure(retriable=False))), target("b", (GOOD, None))], PROMPT, journal, max_calls=3
    )
    assert (await run.complete()).text == "Hello"

    class Hanging(Scripted):
        async def complete(self, route: Route, prompt: Prompt) -> Completion:
            await asyncio.sleep(60)
            raise AssertionError

    journal = Journal()
    hanging = ProviderRun([Target(Route(provider="h", model="m"), Hanging())], PROMPT, journal, max_calls=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await hanging.complete()
    assert journal.closed[0][1] == "cancelled"


@given(st.booleans(), st.one_of(st.none(), st.floats(0, 100)), st.integers(1, 5), st.integers(0, 5), st.integers(0, 4))
def test_the_rule_spends_no_call_that_another_route_needs(
    retriable: bool, retry_after_s: float | None, tries: int, calls_left: int, routes_left: int
) -> None:
    error = failure(retriable=retriable, retry_after_s=retry_after_s)
    step = next_step(error, tries_here=tries, calls_left=calls_left, routes_left=routes_left)
    if step is Step.SAME:
        assert retriable
        assert tries < 2
        assert calls_left > routes_left
        assert (retry_after_s or 0) <= 2
    else:
        assert (step is Step.NEXT) == (routes_left > 0)
