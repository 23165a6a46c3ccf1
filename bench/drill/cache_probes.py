"""`python -m bench.drill.cache_probes`: 10,000 questions across everything that an answer hangs on; no hit may be another's.

Tenants, chatbots, system prompts, models, knowledge versions, contexts that differ only in their ninth message, callers'
own system messages and options, languages, pages and visitors with personal data, in conversations and behind `/v1`. The
provider answers with a mark of what it was asked (`bench/simulator/marking.py`); what a question should have been told is
found by asking it once past the caches. Exit code 1 if one hit carried another mark. At the end entries are purged in one
process while another one gives them: how long that takes is shown.
"""

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from bench.drill.cache_questions import CONTEXT, GROUPS, PEOPLE
from bench.simulator import Simulator, run_simulator
from bench.simulator.marking import NO_HISTORY, Mark, question_mark
from chatwright.adapters.postgres.migrate import migrate
from chatwright.adapters.queue import QUEUES, Consumer
from chatwright.app.addresses import Addresses
from chatwright.app.embedded import run_embedded
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.messages import Draft
from chatwright.domain.providers import Turn
from chatwright.domain.scope import Scope
from chatwright.entrypoints.worker import Worker
from chatwright.features import tenancy
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import cache_admin, inline, manage
from chatwright.pipeline.accept import accept
from chatwright.pipeline.cache_admin import Wanted
from chatwright.pipeline.cache_learning import drain
from chatwright.pipeline.cache_training import train_one
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import wait_for_answer

_MODELS = ("sim:mark=2", "sim:mark=1,chunks=3", "sim:mark=2,chunks=2")
_PROMPT = "You serve the customers of zqshop{place}. Be brief, and end each answer with the word zqend{revision}."
_ROUNDS = 4
_AT_ONCE = 8
_CHAT_SHARE = 0.1
_AGAIN = 8
"""Questions that are asked again at the end of a round, once their answers are surely kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question. `history` are turns before it, `options` what the caller asks for, `page` a visitor's page."""

    bot: int
    group: int
    text: str
    history: tuple[Turn, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    page: str = ""
    surface: str = "v1"
    private: bool = False
    mode: str | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of the probes: counts by surface and result, and what was wrong. `other_question`: hits of the semantic tier
    that belong to the same scope and to another question; they are its error rate, not a breach. `given_again`: of the
    questions asked again at the end of a round, how many had the exact tier's answer."""

    asked: int = 0
    results: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    other_question: int = 0
    unmarked: int = 0
    given_again: int = 0
    provider_calls: int = 0
    purge_ms: list[float] = field(default_factory=list[float])
    took_s: float = 0.0


@dataclass(slots=True)
class _Bot:
    place: int
    scope: Scope
    chatbot: Chatbot
    knows: bool
    revision: int = 0
    document: int = 0


class Probing:
    """The world of the probes: chatbots of several tenants that are asked the same things."""

    def __init__(self, app: Services, simulator: Simulator, *, seed: int, elsewhere: Services | None = None) -> None:
        """`elsewhere`: another process's services, which give what is purged here."""
        self._app = app
        self._elsewhere = elsewhere or app
        self._simulator = simulator
        self._draw = random.Random(seed)
        self._bots: list[_Bot] = []
        self._expected: dict[tuple[Any, ...], Mark | None] = {}
        marks = {question_mark(text): place for place, group in enumerate(GROUPS) for text in group}
        simulator.topics = {mark: f"g{place}" for mark, place in marks.items()}
        self._groups = marks | {f"g{place}": place for place in range(len(GROUPS))}
        self.report = Report()

    async def run(self, probes: int, *, rounds: int = _ROUNDS) -> Report:
        """Ask `probes` questions in several rounds; between them prompts, models and knowledge change. A worker runs."""
        began = time.monotonic()
        await self._open()
        for turn in range(rounds):
            await self._ask_all(probes // rounds if turn else probes - probes // rounds * (rounds - 1))
            if turn < rounds - 1:
                await self._change(turn)
        await self._measure_purge()
        self.report.provider_calls = len(self._simulator.calls())
        self.report.took_s = time.monotonic() - began
        return self.report

    # --- the world ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        for tenant_place in range(3):
            tenant, _ = await manage.create_tenant(
                self._app, actor="drill", name=f"Tenant {tenant_place}", plan="enterprise"
            )
            scope = Scope(tenant_id=tenant.id)
            for chatbot_place in range(2):
                place = len(self._bots)
                knows = chatbot_place == 0 and tenant_place < 2
                new = NewChatbot(
                    name="Shop",
                    slug=f"shop-{chatbot_place}",
                    widget_id=new_widget_id(),
                    providers=(ProviderLink(provider="openai", model=_MODELS[place % len(_MODELS)]),),
                    system_prompt=_PROMPT.format(place=place, revision=0),
                    knowledge_enabled=knows,
                    answer_policy="sources_first" if knows else "sources_only",
                    metadata_fields=("page",),
                    cache_policy={"semantic": True, "max_error": 0.05, "check_share": 0.05},
                )
                chatbot = await manage.create_chatbot(self._app, scope, new, actor="drill")
                self._bots.append(_Bot(place, scope, chatbot, knows))
        for bot in self._bots:
            if bot.knows:
                await self._write_document(bot)

    async def _write_document(self, bot: _Bot) -> None:
        """The knowledge base's one document in its next version: every passage names it."""
        bot.document += 1
        mark = f"zqkv{bot.place}x{bot.document}"
        text = "\n\n".join(
            f"## {group[0]}\n\nAbout that see page {mark}, chapter {place}." for place, group in enumerate(GROUPS)
        )
        base = bot.chatbot.knowledge_base_id
        assert base is not None
        version = (await self._fresh(bot)).knowledge_version
        await submit_text(
            self._app, bot.scope, base, title="Handbook", text=text, media_type="text/markdown", source_key="handbook"
        )
        async with asyncio.timeout(60):
            while (chatbot := await self._fresh(bot)).knowledge_version == version or not chatbot.has_knowledge:
                await asyncio.sleep(0.02)
        bot.chatbot = chatbot
        self._app.chatbots.invalidate(bot.scope.tenant_id)

    async def _fresh(self, bot: _Bot) -> Chatbot:
        async with self._app.db.transaction(bot.scope) as db:
            chatbot = await tenancy.get_chatbot(db, bot.scope, bot.chatbot.id)
        assert chatbot is not None
        return chatbot

    async def _change(self, turn: int) -> None:
        """Another prompt, another model, other knowledge; the rest stays, so that what is old could be met again."""
        for bot in self._bots:
            await drain(self._app)
            await train_one(self._app, bot.chatbot.scope)
            if bot.knows:
                await self._write_document(bot)
            elif (bot.place + turn) % 3 == 0:
                bot.revision += 1
                changes = {"system_prompt": _PROMPT.format(place=bot.place, revision=bot.revision)}
                bot.chatbot = await manage.patch_chatbot(self._app, bot.scope, bot.chatbot.id, changes, actor="drill")
            elif (bot.place + turn) % 3 == 1:
                other = _MODELS[(bot.place + turn + 1) % len(_MODELS)]
                changes = {"providers": (ProviderLink(provider="openai", model=other),)}
                bot.chatbot = await manage.patch_chatbot(self._app, bot.scope, bot.chatbot.id, changes, actor="drill")

    # --- the probes -----------------------------------------------------------------------------------------------

    async def _ask_all(self, count: int) -> None:
        lined: asyncio.Queue[Probe] = asyncio.Queue()
        for _ in range(count - _AGAIN):
            lined.put_nowait(self._probe())
        kept: list[Probe] = []

        async def ask() -> None:
            while not lined.empty():
                probe = lined.get_nowait()
                plain = not (probe.history or probe.options or probe.private or probe.mode) and probe.surface == "v1"
                if await self._ask(probe) in ("miss", "exact") and plain:
                    kept.append(probe)

        async with asyncio.TaskGroup() as group:
            for place in range(_AT_ONCE):
                group.create_task(ask(), name=f"probes-{place}")
        await self._app.cache.settled()
        # The last ones: while the first were asked, word of the change before this round may still have been on its way.
        for probe in kept[-_AGAIN:]:
            self.report.given_again += await self._ask(probe) == "exact"

    def _probe(self) -> Probe:
        draw = self._draw
        place = min(int(draw.paretovariate(0.8)) - 1, len(GROUPS) - 1)
        text = draw.choice(GROUPS[place])
        if draw.random() < 0.3:
            text = draw.choice((text + "  ", text.replace(" ", "  "), text[0].upper() + text[1:], text.rstrip("?")))
        probe = Probe(bot=draw.randrange(len(self._bots)), group=place, text=text)
        if draw.random() < 0.05:
            probe = replace(probe, text=f"{draw.choice(PEOPLE)} {text}", private=True)
        if draw.random() < _CHAT_SHARE:
            page = draw.choice(("", "", "zqpagea", "zqpageb"))
            return replace(probe, surface="chat", page=page)
        kind = draw.random()
        if kind < 0.45:
            probe = replace(probe, history=_history(draw))
        elif kind < 0.55:
            own = Turn("system", f"Answer for the readers of zqcaller{draw.randrange(3)}.")
            probe = replace(probe, history=(own,))
        if draw.random() < 0.2:
            probe = replace(probe, options=(draw.choice(_OPTIONS),))
        surface = "stream" if draw.random() < 0.3 else "v1"
        mode = draw.choice(("off", "read", "write")) if draw.random() < 0.06 else None
        return replace(probe, surface=surface, mode=mode)

    async def _ask(self, probe: Probe) -> str:
        """Ask, and judge the answer. Returns what the caches said."""
        text, cached = await (self._chat(probe) if probe.surface == "chat" else self._inline(probe, probe.mode))
        self.report.asked += 1
        self.report.results[f"{probe.surface}:{cached}"] += 1
        mark = Mark.read(text)
        if mark is None:
            self.report.unmarked += 1
        elif cached in ("exact", "semantic"):
            await self._judge(probe, cached, mark)
        return cached

    async def _judge(self, probe: Probe, cached: str, mark: Mark) -> None:
        expected = await self._should_be(probe)
        what = f"{cached} {probe.surface} bot {probe.bot} {probe.text!r} {probe.options} history {len(probe.history)}"
        if probe.private:
            self.report.wrong.append(f"{what}: a question with personal data was answered by {mark}")
        if expected is None:
            self.report.unmarked += 1
            return
        if cached == "exact":
            if mark != expected:
                self.report.wrong.append(f"{what}: {mark} instead of {expected}")
            return
        # Another wording may quote other passages, and its question has another mark; all else is the scope.
        if mark.shape != expected.shape:
            self.report.wrong.append(f"{what}: of another scope: {mark} instead of {expected}")
        elif mark.history not in (NO_HISTORY, expected.history):
            self.report.wrong.append(f"{what}: made in another context: {mark} instead of {expected}")
        elif _outer(mark) - _outer(expected):
            self.report.wrong.append(f"{what}: with another's words: {mark} instead of {expected}")
        elif self._groups.get(mark.question, probe.group) != probe.group:
            self.report.other_question += 1

    async def _should_be(self, probe: Probe) -> Mark | None:
        """The mark of the same question, asked past the caches; one question for each thing that may differ."""
        bot = self._bots[probe.bot]
        state = (bot.chatbot.revision, bot.chatbot.knowledge_version)
        surface = "chat" if probe.surface == "chat" else "v1"
        history = tuple((turn.role, turn.content) for turn in probe.history)
        key = (probe.bot, *state, surface, history, repr(probe.options), probe.page, question_mark(probe.text))
        if key not in self._expected:
            past = replace(probe, mode="off")
            text, _ = await (self._chat(past) if surface == "chat" else self._inline(past, "off"))
            self._expected[key] = Mark.read(text)
        return self._expected[key]

    async def _inline(self, probe: Probe, mode: Any, app: Services | None = None) -> tuple[str, str]:
        app = app or self._app
        given = dict(probe.options)
        request = inline.InlineRequest(
            chatbot=self._bots[probe.bot].chatbot,
            turns=(*probe.history, Turn("user", probe.text)),
            temperature=given.pop("temperature", None),
            max_tokens=given.pop("max_tokens", None),
            options=given,
            cache=mode,
        )
        if probe.surface != "stream":
            answer = await inline.complete(app, request)
            return answer.text, answer.cached
        run = inline.stream(app, request)
        async with aclosing(run.deltas()) as deltas:
            text = "".join([delta.text async for delta in deltas])
        return text, run.cached

    async def _chat(self, probe: Probe) -> tuple[str, str]:
        bot = self._bots[probe.bot]
        metadata: dict[str, Any] = {"page": probe.page} if probe.page else {}
        if probe.mode is not None:
            metadata["x-chatwright-cache"] = probe.mode
        draft = Draft(text=probe.text, chatbot_id=bot.chatbot.id, metadata=metadata)
        accepted = await accept(self._app, bot.scope, draft)
        outcome = await wait_for_answer(self._app, bot.scope, accepted, timeout_s=30)
        return ("", "failed") if outcome.answer is None else (outcome.answer.text, outcome.answer.cached)

    # --- purges ---------------------------------------------------------------------------------------------------

    async def _measure_purge(self) -> None:
        """How long after the call a purged answer is given no more by another process, by either tier."""
        for bot in self._bots:
            probe = Probe(bot=bot.place, group=0, text=GROUPS[0][0])
            await self._inline(probe, None)
            await self._app.cache.settled()
            await drain(self._app)
            await self._inline(probe, "read", self._elsewhere)
            began = time.monotonic()
            await cache_admin.purge(self._app, bot.chatbot, Wanted(text=GROUPS[0][0]), actor="drill")
            async with asyncio.timeout(20):
                while (await self._inline(probe, "read", self._elsewhere))[1] in ("exact", "semantic"):
                    await asyncio.sleep(0.01)
            self.report.purge_ms.append((time.monotonic() - began) * 1_000)


_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("temperature", 0.2), ("temperature", 0.9), ("max_tokens", 50), ("max_tokens", 60), ("seed", 1), ("seed", 2),
    ("stop", ["zqx"]), ("top_p", 0.5), ("response_format", {"type": "json_object"}), ("logit_bias", {"50": 1}),
)  # fmt: skip


def _history(draw: random.Random) -> tuple[Turn, ...]:
    """Nine messages before the question, one of which says something else: early, in the middle, or just before it."""
    at = draw.choice((0, 4, 8, 8))
    turns = [Turn("user" if place % 2 == 0 else "assistant", text) for place, text in enumerate(CONTEXT)]
    turns[at] = Turn(turns[at].role, f"{turns[at].content} I mean zqthing{draw.randrange(3)}.")
    if draw.random() < 0.2:
        turns[2] = Turn("user", draw.choice(PEOPLE))
    return tuple(turns if draw.random() < 0.8 else turns[-2:])


def _outer(mark: Mark) -> set[str]:
    """Words of shops, pages, callers, things and knowledge versions in a request."""
    return set() if mark.tokens == "-" else set(mark.tokens.split("+"))


@asynccontextmanager
async def _worker(app: Services, url: str) -> AsyncGenerator[None]:
    consumer = Consumer(
        url=url, queues=list(QUEUES.values()), concurrency=8, high_priority_reserve=1, tenant_in_flight_cap=8
    )
    worker = Worker(app, consumer)
    task = asyncio.create_task(worker.run(), name="drill-worker")
    try:
        yield
    finally:
        await worker.stop(grace_s=2)
        task.cancel()
        await asyncio.wait({task})


async def _main(probes: int, seed: int) -> Report:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-probes-")))
        servers = await stack.enter_async_context(run_embedded(folder / "servers", durable=False))
        await migrate(servers.database_url)
        simulator = await stack.enter_async_context(run_simulator())
        settings = Settings(
            data_dir=folder, openai_base_url=simulator.base_url, openai_api_key="sk-drill", unknown_prices="flag",
            relevance_threshold=0.3,
        )  # fmt: skip
        addresses = Addresses(database_url=servers.database_url, redis_url=servers.redis_url)
        app = await stack.enter_async_context(open_services(settings, addresses))
        elsewhere = await stack.enter_async_context(open_services(settings, addresses))
        await stack.enter_async_context(_worker(app, servers.redis_url))
        return await Probing(app, simulator, seed=seed, elsewhere=elsewhere).run(probes)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.drill.cache_probes", description="Questions, and whose answers."
    )
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    report = asyncio.run(_main(asked.probes, asked.seed))
    for one in report.wrong[:20]:
        print(f"WRONG {one}")
    shown = {
        "probes": report.asked,
        "results": dict(sorted(report.results.items())),
        "wrong_scope": len(report.wrong),
        "semantic_other_question": report.other_question,
        "unmarked": report.unmarked,
        "provider_calls": report.provider_calls,
        "purge_ms": [round(one) for one in report.purge_ms],
        "took_s": round(report.took_s, 1),
    }
    print(json.dumps(shown, indent=2))
    print("cache probes:", "failed" if report.wrong else "passed")
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
