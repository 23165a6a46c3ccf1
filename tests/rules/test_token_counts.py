"""Counted before the call: exact where the vocabulary is published, never below what is charged elsewhere."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.recorded_prompts import RecordedPrompt, read_recordings
from chatwright.adapters.tokens import PromptTokens, TokenCounts, TokenEstimate, family_of, open_token_counts
from chatwright.adapters.tokens.attachments import UNBOUNDED
from chatwright.adapters.tokens.counts import PIECE_CHARS
from chatwright.adapters.tokens.vocabulary import CL100K, O200K, load
from chatwright.domain.providers import Prompt, Turn
from tests.flows.recorded import RECORDINGS, needs_recordings

OPENAI = "https://api.openai.com/v1"
SCRIPTS = st.text(
    alphabet=st.one_of(
        st.characters(codec="utf-8"),
        *(
            st.characters(min_codepoint=first, max_codepoint=last, codec="utf-8")
            for first, last in (
                (0x20, 0x7E), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58A), (0x5D0, 0x6FF),
                (0x900, 0xDFF), (0xE01, 0xE7F), (0x10A0, 0x10FF), (0x1200, 0x137F), (0x1780, 0x17FF), (0x3040, 0x30FF),
                (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F6FF),
            )
        ),
    ),
    max_size=300,
)  # fmt: skip
CODE = st.sampled_from(
    [
        "def f(x):\n    return {'a': [x ** 2 for x in range(10)]}\n",
        "SELECT id, name FROM users WHERE created_at > now() - interval '1 day';",
        '{"type":"object","properties":{"city":{"type":"string","description":"The city"}}}',
        "for (let i = 0; i < n; i++) {\n\t\tconsole.log(`${i}: ${xs[i]}`);\n}\n",
        "550e8400-e29b-41d4-a716-446655440000 2026-11-23T08:15:30.000Z 127.0.0.1:5432 3.14159265358979",
    ]
)


@pytest.fixture
async def counts() -> AsyncIterator[TokenCounts]:
    async with open_token_counts() as opened:
        yield opened


# One for all examples of a property: a vocabulary takes 50 ms to load.
@pytest.fixture(scope="module")
def shared() -> TokenCounts:
    return TokenCounts(load(O200K))


def counted(counts: TokenCounts, prompt: Prompt) -> PromptTokens:
    return asyncio.run(counts.prompt(prompt))


def asked(*texts: str, **options: Any) -> Prompt:
    return Prompt(turns=tuple(Turn("user", text) for text in texts), options=options)


def exact(tokens: PromptTokens, model: str = "gpt-4.1") -> TokenEstimate:
    return tokens.estimate("openai", model, base_url=OPENAI)


# --- the vocabularies -------------------------------------------------------------------------------------------------


def test_known_counts() -> None:
    o200k, cl100k = load(O200K), load(CL100K)
    assert o200k("tiktoken is great!") == 6
    assert cl100k("tiktoken is great!") == 6
    assert cl100k("antidisestablishmentarianism") == 6
    assert (o200k("お誕生日おめでとう"), cl100k("お誕生日おめでとう")) == (8, 9)
    assert o200k("") == 0


def test_a_lone_surrogate_is_counted_as_it_is_sent() -> None:
    assert load(O200K)("a\ud800b") == load(O200K)("a?b")


async def test_a_chat_of_openai_is_counted_exactly(counts: TokenCounts) -> None:
    prompt = Prompt(turns=(Turn("system", "You are a helpful assistant."), Turn("user", "Hello!")))
    # 3 to begin the answer, 4 a message, 6 + 2 tokens of text.
    assert exact(await counts.prompt(prompt)) == (8, 19, 19)


async def test_another_vocabulary_is_loaded_when_it_is_needed(counts: TokenCounts) -> None:
    tokens = await counts.prompt(asked("お誕生日おめでとう"))
    assert exact(tokens).least == 8
    assert exact(tokens, "gpt-4-turbo").least == 9


@pytest.mark.parametrize(
    ("provider", "model", "like"),
    [
        ("openai", "gpt-4.1-2025-04-14", "gpt-4o*"),
        ("openai", "gpt-4-1106-preview", "gpt-4*"),
        ("openai", "gpt-4.1-nano", "gpt-4-1-mini*"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1", "gpt-4o-mini*"),
        ("openai", "gpt-5.6", "gpt-*"),
        ("azure", "our-deployment", "gpt-*"),
        ("groq", "openai/gpt-oss-120b", "gpt-oss*"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-*"),
        ("openrouter", "anthropic/claude-opus-4.7", "claude-opus-4-7*"),
        ("anthropic", "claude-3-5-haiku-latest", "claude-3-*"),
        ("huggingface", "Qwen/Qwen2.5-VL-72B-Instruct", "qwen*"),
        ("local", "meta-llama/Llama-3.3-70B-Instruct", "llama*"),
    ],
)
def test_a_model_counts_like_its_family(provider: str, model: str, like: str) -> None:
    assert like in family_of(provider, model).models


def test_a_model_that_nobody_knows_is_counted_with_the_widest_margin() -> None:
    assert family_of("somewhere", "foo-1").models == ()
    assert family_of("somewhere", "foo-1").vocabulary is None


# --- bounds -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.one_of(SCRIPTS, CODE), min_size=1, max_size=4))
def test_the_bound_for_an_unknown_vocabulary_covers_known_ones(shared: TokenCounts, texts: list[str]) -> None:
    tokens = counted(shared, asked(*texts))
    cl100k = shared.counter(CL100K)
    by_cl100k = sum(map(cl100k, texts))
    real = max(by_cl100k, sum(map(shared.count, texts))) + 4 * len(texts) + 3
    for provider, model in (
        ("anthropic", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-pro"),
        ("local", "llama3.1"),
        ("x", "y"),
    ):
        estimate = tokens.estimate(provider, model)
        assert estimate.bound >= real
        assert estimate.least <= estimate.bound
    assert exact(tokens, "gpt-4-turbo") == (by_cl100k, *[by_cl100k + 5 * len(texts) + 3] * 2)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=SCRIPTS)
def test_a_server_that_counts_a_quarter_of_the_characters_is_covered(shared: TokenCounts, text: str) -> None:
    estimate = counted(shared, asked(text)).estimate("openai", "mock", base_url="http://127.0.0.1:9/v1")
    assert estimate.bound >= max(1, len(text) // 4)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.one_of(SCRIPTS, CODE), max_size=5))
def test_what_was_said_is_not_counted_below_its_tokens(shared: TokenCounts, texts: list[str]) -> None:
    text = "".join(texts)
    assert shared.said(texts, "openai", "gpt-4o") == shared.count(text)
    assert shared.said(texts, "anthropic", "claude-sonnet-4-5") >= shared.counter(CL100K)(text)


@given(more=st.integers(0, 50_000))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_a_prompt_is_not_bounded_above_the_context_it_goes_to(shared: TokenCounts, more: int) -> None:
    tokens = counted(shared, asked("word " * 100))
    estimate = tokens.estimate("anthropic", "claude-sonnet-4-5", context_tokens=120 + more)
    assert estimate.bound <= max(120 + more, tokens.estimate("anthropic", "claude-sonnet-4-5").bound)
    assert estimate.least <= estimate.bound <= 120 + more


@needs_recordings
def test_no_recorded_prompt_was_charged_above_its_bound(shared: TokenCounts) -> None:
    """Both halves: the one that the numbers were fitted on, and the one that they were not."""
    compared: list[RecordedPrompt] = []
    for recorded in read_recordings(RECORDINGS):
        if recorded.skipped or recorded.input_tokens is None:
            continue
        compared.append(recorded)
        estimate = counted(shared, recorded.prompt).estimate(recorded.provider, recorded.model, base_url=OPENAI)
        assert estimate.least <= recorded.input_tokens <= estimate.bound, (recorded.id, estimate)
    assert len(compared) > 150
    assert sum(one.held_out for one in compared) > 60


@needs_recordings
def test_no_recorded_answer_was_longer_than_was_asked_for() -> None:
    limited = [one for one in read_recordings(RECORDINGS) if one.asked_output_tokens is not None]
    assert len(limited) > 30
    assert [one.id for one in limited if one.output_tokens > (one.asked_output_tokens or 0)] == []


# --- what is no text --------------------------------------------------------------------------------------------------


async def test_tools_and_schemas_are_counted(counts: TokenCounts) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    bare = await counts.prompt(asked("Hello"))
    tooled = await counts.prompt(asked("Hello", tools=[tool]))
    formed = await counts.prompt(asked("Hello", response_format={"type": "json_schema", "json_schema": tool}))
    for model in ("gpt-4.1", "claude-sonnet-4-5"):
        plain = bare.estimate("any", model).bound
        assert tooled.estimate("any", model).bound > plain + shared_json(counts, [tool])
        assert formed.estimate("any", model).bound > plain


def shared_json(counts: TokenCounts, value: object) -> int:
    return counts.count(json.dumps(value, separators=(",", ":")))


async def test_calls_of_tools_are_counted(counts: TokenCounts) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ghent"}'}}
    with_call = Prompt(
        turns=(
            Turn("user", "Rain?"),
            Turn("assistant", "", {"tool_calls": [call]}),
            Turn("tool", "yes", {"tool_call_id": "call_1"}),
        )
    )
    without = Prompt(turns=(Turn("user", "Rain?"), Turn("assistant", ""), Turn("tool", "yes")))
    added = exact(await counts.prompt(with_call)).bound - exact(await counts.prompt(without)).bound
    assert added > counts.count('weather{"city":"Ghent"}')


def part(**fields: Any) -> Prompt:
    return Prompt(turns=(Turn("user", "", {"content": [{"type": "text", "text": "See"}, fields]}),))


async def test_a_picture_takes_what_the_largest_takes(counts: TokenCounts) -> None:
    picture = part(type="image_url", image_url={"url": "https://example.com/cat.png"})
    assert exact(await counts.prompt(picture)).bound == 1 + 7 + 1_450
    assert (await counts.prompt(picture)).estimate("anthropic", "claude-sonnet-4-5").bound > 1_650


async def test_a_document_counts_by_its_pages(counts: TokenCounts) -> None:
    pdf = b"%PDF-1.4\n1 0 obj <</Type /Pages /Count 2>>\n2 0 obj <</Type /Page>>\n3 0 obj <</Type/Page /Parent 1 0 R>>"
    data = "data:application/pdf;base64," + base64.b64encode(pdf).decode()
    known = exact(await counts.prompt(part(type="file", file={"file_data": data})))
    assert 10_000 <= known.bound < 11_000
    linked = await counts.prompt(part(type="file", file={"file_data": "https://example.com/a.pdf"}))
    assert exact(linked).bound >= UNBOUNDED
    assert linked.estimate("openai", "gpt-4.1", base_url=OPENAI, context_tokens=1_000_000).bound == 1_000_000


async def test_a_part_that_nobody_knows_may_be_anything(counts: TokenCounts) -> None:
    assert exact(await counts.prompt(part(type="video", video={"url": "x"}))).bound >= UNBOUNDED


# --- long texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["word and word ", "x", "数据库的备份频率", "a\n\n b"])
async def test_a_long_text_in_pieces_comes_out_the_same_or_a_little_above(counts: TokenCounts, text: str) -> None:
    long = (text * 100_000)[: PIECE_CHARS * 5 + 7]
    whole = counts.count(long)
    pieces = (await counts.prompt(asked(long))).tokens
    assert whole <= pieces <= whole + 12


async def test_other_work_goes_on_while_a_long_text_is_counted(counts: TokenCounts) -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(work(), name="work")
    await counts.prompt(asked("word " * PIECE_CHARS))
    task.cancel()
    assert turns >= 4


async def test_visitors_words_are_not_remembered(counts: TokenCounts) -> None:
    held = counts._remembered  # pyright: ignore[reportPrivateUsage] - what it keeps is the point
    await counts.prompt(Prompt(turns=(Turn("system", "Be kind. " * 50), Turn("user", "My secret. " * 50))))
    assert held.cache_info().currsize == 1  # pyright: ignore[reportFunctionMemberAccess] - an lru_cache


def test_recordings_are_where_the_test_looks() -> None:
    assert Path(RECORDINGS).name == "providers"
