"""How many tokens a prompt takes, before it is sent and without asking anybody.

`TokenCounts` counts a prompt once; the `PromptTokens` that it returns then say what each model of a chain would make of
it. Opened by `app/services.py`; flows ask it for what they reserve, limit and book. Counting keeps the event loop: a long
text is counted in pieces with a pause between them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from json import dumps
from math import ceil
from typing import Any, NamedTuple, cast

import msgspec

from chatwright.adapters.tokens.attachments import tokens_of
from chatwright.adapters.tokens.families import Content, Family, Vocabulary, family_of, is_official
from chatwright.adapters.tokens.vocabulary import O200K, Count, load
from chatwright.domain.providers import Prompt, Turn

PIECE_CHARS = 16_000
"""Counted in one go: 0.3 ms of English, 1.5 ms of Chinese."""
_LEAST_REMEMBERED, _MOST_REMEMBERED = 200, 20_000
_REMEMBERED = 256
"""System prompts and tools come again with each message: counts of so many are kept, 5 MB of text at the most."""
_CALL_TOKENS = 24
"""Around a tool call or its result: an id, names of fields, marks."""
_TOOL_TOKENS = 12
_EXPECTED_ATTACHED = 1_500
_encode = msgspec.json.Encoder().encode


class TokenEstimate(NamedTuple):
    """Input tokens of a prompt. `least` is surely reached, `expected` comes nearest, `bound` is not passed.

    The bound holds by construction where the model's vocabulary is published, elsewhere it was measured to hold; it is
    never more than the model's context where that is known, because a longer prompt is refused.
    """

    least: int
    expected: int
    bound: int


class PromptTokens:
    """One prompt, counted. Ask it about each model that the prompt may go to."""

    __slots__ = (
        "_characters", "_content", "_counts", "_framing", "_json", "_parts", "_plain", "_schema", "_texts", "_tools",
        "_turns",
    )  # fmt: skip

    def __init__(
        self,
        counts: "TokenCounts",
        texts: Sequence[str],
        *,
        plain: int,
        json: int = 0,
        framing: int = 0,
        turns: int = 0,
        tools: bool = False,
        schema: bool = False,
        parts: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Tokens by o200k: `plain` of what is said, `json` of tools, schemas and calls, of both together in `texts`;
        `framing` comes around tools and calls at the most. `parts` are no text."""
        self._counts = counts
        self._texts = texts
        self._characters = sum(map(len, texts))
        self._plain = plain
        self._json = json
        self._framing = framing
        self._turns = turns
        self._tools = tools
        self._schema = schema
        self._parts = parts
        self._content: Content | None = None

    @property
    def tokens(self) -> int:
        """By o200k, without what a provider adds: the common measure where no model is known yet."""
        return self._plain + self._json

    def estimate(
        self, provider: str, model: str, *, base_url: str = "", context_tokens: int | None = None
    ) -> TokenEstimate:
        """What this prompt is to a model whose context holds `context_tokens` (None: not known)."""
        family = family_of(provider, model)
        # A text to be embedded is a prompt without turns: it gets a mark at its begin and at its end.
        added = family.start + family.turn * self._turns if self._turns else 2 * len(self._texts)
        if self._tools:
            added += family.tools
        if self._schema:
            added += family.schema
        plain, json = self._plain, self._json
        if family.vocabulary is not None:
            if family.vocabulary != O200K:
                plain = self._counted_by(family.vocabulary) - json
            least = plain
            expected = plain + added
            bound = plain + added
            if json:
                expected += json // 2
                bound += json + json // 8 + self._framing + family.unasked
            if not is_official(base_url):
                # A server that only speaks OpenAI's dialect may count in its own way, often a quarter of the characters.
                bound = max(bound, -(-self._characters // 4) + added)
        else:
            content = self._content = self._content or Content(self._texts)
            least = plain * 7 // 10
            expected = ceil((plain + json // 2) * family.ratio) + added
            # No vocabulary makes more tokens of a text than it has bytes.
            bound = min(ceil(family.most.apply(plain + json, content)), content.size + 1) + 2 * self._framing
            bound += added + added // 4 + family.unasked + 30
        if self._parts:
            attached = self._attached(family)
            expected += min(attached, _EXPECTED_ATTACHED)
            bound += attached
        if context_tokens is not None and bound > context_tokens:
            bound = max(least, context_tokens)
        return TokenEstimate(least, expected, bound)

    def _counted_by(self, vocabulary: Vocabulary) -> int:
        count = self._counts.counter(vocabulary)
        return sum([count(text) for text in self._texts])

    def _attached(self, family: Family) -> int:
        return sum([tokens_of(part, family.image, self._counts.count) for part in self._parts])


class TokenCounts:
    """One per process, for any number of prompts at once."""

    def __init__(self, o200k: Count) -> None:
        self.count = o200k
        """A text's tokens by o200k: the common measure where no model is known yet."""
        self._remembered: Callable[[str], int] = lru_cache(maxsize=_REMEMBERED)(o200k)
        self._counters: dict[Vocabulary, Count] = {O200K: o200k}

    def counter(self, vocabulary: Vocabulary) -> Count:
        """Counts by another vocabulary; the first time it is loaded, which takes 20 ms."""
        count = self._counters.get(vocabulary)
        if count is None:
            count = self._counters[vocabulary] = load(vocabulary)
        return count

    async def prompt(self, prompt: Prompt) -> PromptTokens:
        """Count a prompt. A short one takes some microseconds and does not wait."""
        texts: list[str] = []
        parts: list[dict[str, Any]] = []
        plain = json = framing = 0
        for turn in prompt.turns:
            extra = turn.extra
            if extra is None:
                text = turn.content
                texts.append(text)
                # Only what stands in every prompt of a chatbot is remembered: visitors' words are not kept.
                if turn.role == "system" and _LEAST_REMEMBERED <= len(text) <= _MOST_REMEMBERED:
                    plain += self._remembered(text)
                elif len(text) <= PIECE_CHARS:
                    plain += self.count(text)
                else:
                    plain += await self._count_long(text)
                continue
            said, called = _taken_apart(turn, parts)
            texts += said
            texts += called
            framing += _CALL_TOKENS * (len(called) + ("tool_call_id" in extra))
            for text in said:
                plain += await self._count_any(text)
            for text in called:
                json += await self._count_any(text)
        tools: Any = prompt.options.get("tools")
        form: Any = prompt.options.get("response_format")
        for value in (tools, form):
            if value:
                text = _as_json(value)
                texts.append(text)
                json += self._remembered(text) if len(text) <= _MOST_REMEMBERED else await self._count_long(text)
        if isinstance(tools, list):
            framing += _TOOL_TOKENS * len(tools)
        return PromptTokens(
            self,
            texts,
            plain=plain,
            json=json,
            framing=framing,
            turns=len(prompt.turns),
            tools=bool(tools),
            schema=bool(form),
            parts=parts,
        )

    async def texts(self, texts: Sequence[str]) -> PromptTokens:
        """Count texts that are to be embedded: nothing is added to them."""
        tokens = 0
        since_pause = 0
        for text in texts:
            since_pause += len(text)
            if since_pause > PIECE_CHARS:
                since_pause = 0
                await asyncio.sleep(0)
            tokens += await self._count_any(text)
        return PromptTokens(self, texts, plain=tokens)

    def said(self, texts: Sequence[str], provider: str, model: str) -> int:
        """The most tokens that an answer in these pieces has to a model. At once: an answer is not long."""
        text = "".join(texts)
        family = family_of(provider, model)
        if family.vocabulary is not None:
            return self.counter(family.vocabulary)(text)
        content = Content((text,))
        return min(ceil(family.most.apply(self.count(text), content)), content.size)

    async def _count_any(self, text: str) -> int:
        return self.count(text) if len(text) <= PIECE_CHARS else await self._count_long(text)

    async def _count_long(self, text: str) -> int:
        """The count of a text in pieces, other work going on between them. A cut between words changes nothing; one
        inside of a word, where there are no blanks, is given a token more."""
        tokens = 0
        begin = 0
        while begin < len(text):
            end = begin + PIECE_CHARS
            if end < len(text):
                blank = text.rfind(" ", end - 1_000, end)
                end = blank if blank > begin else end
            tokens += self.count(text[begin:end]) + 1
            begin = end
            await asyncio.sleep(0)
        return tokens


@asynccontextmanager
async def open_token_counts() -> AsyncGenerator[TokenCounts]:
    """Load the vocabulary beside the event loop: about 60 ms. Raises ImportError when its wheel is not installed."""
    yield TokenCounts(await asyncio.to_thread(load, O200K))


def _taken_apart(turn: Turn, parts: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """(texts, calls of tools as JSON) of a turn that is more than its text; `parts` gets those that are neither."""
    extra = turn.extra or {}
    content: Any = extra.get("content")
    said: list[str] = []
    if isinstance(content, list):
        for part in content:
            text: Any = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                said.append(text)
            elif isinstance(part, dict):
                parts.append(cast("dict[str, Any]", part))
    else:
        said.append(turn.content)
    if isinstance(extra.get("name"), str):
        said.append(f" {extra['name']}:")
    calls: Any = extra.get("tool_calls")
    return said, [_as_json(call) for call in calls] if isinstance(calls, list) else []


def _as_json(value: Any) -> str:
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        return dumps(value)  # a lone surrogate, escaped here as it is replaced on its way out
