"""`python -m bench.drill.memory`: one conversation of 500 messages, once with each summariser, with restarts and without.

What the third message says must stand in the prompt of the 400th; no prompt may be longer than its room; each message
must go into the summary exactly once; and a worker that is stopped and started in between must change nothing. The
summariser is a model (the simulator's, which is of a fixed size and forgets) or the local one. Exit code 1 if anything
of this does not hold.
"""

import argparse
import asyncio
import json
import logging
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from bench.simulator import Simulator, run_simulator
from chatwright.adapters.postgres.migrate import migrate
from chatwright.adapters.queue import QUEUES, Consumer
from chatwright.app.addresses import Addresses
from chatwright.app.embedded import run_embedded
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.ids import ConversationId
from chatwright.domain.messages import Draft, MessageState
from chatwright.domain.scope import Scope
from chatwright.entrypoints.worker import Worker
from chatwright.features import memory
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import manage
from chatwright.pipeline.accept import accept
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import wait_for_answer

FACTS = "My name is Ada Lovelace. My order number is 48213. I am allergic to peanuts."
PLANTED_AT, ASKED_AT = 3, 400
MODEL_SUMMARISER = "openai/sim:summarise=240,record=1,tokenized=1"
LOCAL_SUMMARISER = "nobody/none"
_ANSWER = "sim:record=1,tokenized=1"
_MARK = re.compile(r"\bm(\d+)q\b")
_SUBJECTS = ("gift cards", "the opening hours", "parking", "delivery abroad", "the loyalty card", "returns", "repairs")
_STARTS = ("Tell me more about", "What do you know about", "I was wondering about", "Please explain", "And what about")
_SETTLED_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one conversation came to. `summarised`: how often each message was given to the summariser, by ordinal;
    empty where that is not a model."""

    turns: int
    longest_prompt_tokens: int
    room_tokens: int
    facts_at: dict[int, bool] = field(default_factory=dict[int, bool])
    covers_upto: int = 0
    steps: int = 0
    text: str = ""
    made_by: str = ""
    summarised: dict[int, int] = field(default_factory=dict[int, int])
    summary_input_tokens: int = 0
    took_s: float = 0.0


def message(ordinal: int) -> str:
    """What the visitor says: small matters in many words, each with a mark of its own."""
    if ordinal == PLANTED_AT:
        return f"{FACTS} (m{ordinal}q)"
    subject = _SUBJECTS[ordinal % len(_SUBJECTS)]
    start = _STARTS[ordinal * 7 % len(_STARTS)]
    return f"{start} {subject}, m{ordinal}q. " + f"It need not be short, {subject} matter to many here. " * (
        ordinal % 4
    )


async def converse(
    settings: Settings,
    addresses: Addresses,
    simulator: Simulator,
    *,
    turns: int,
    restarts: Collection[int] = (),
    looked_at: Collection[int] = (ASKED_AT,),
) -> Outcome:
    """One conversation of so many messages. After each message in `restarts` the process's worth of services is closed,
    at once and without grace, and opened anew; at those in `looked_at` the prompt is searched for what was planted."""
    began = time.monotonic()
    simulator.recorded.clear()
    simulator.reset()
    found: dict[int, bool] = {}
    ordinal = 0
    scope: Scope | None = None
    conversation_id: ConversationId | None = None
    chatbot: Chatbot | None = None
    kept: memory.Kept | None = None
    while ordinal < turns:
        until = min([at for at in restarts if at > ordinal], default=turns)
        async with open_services(settings, addresses) as app, _worker(app, addresses):
            if scope is None or chatbot is None:
                scope, chatbot = await _open_chatbot(app)
            while ordinal < until:
                ordinal += 1
                draft = Draft(
                    text=message(ordinal),
                    conversation_id=conversation_id,
                    chatbot_id=None if conversation_id else chatbot.id,
                    visitor_id="ada",
                )
                accepted = await accept(app, scope, draft)
                conversation_id = accepted.conversation_id
                outcome = await wait_for_answer(app, scope, accepted, timeout_s=30)
                if outcome.state is not MessageState.ANSWERED:
                    raise RuntimeError(f"message {ordinal} ended as {outcome.state}: {outcome.error_message}")
                if ordinal in looked_at:
                    found[ordinal] = _holds_facts(simulator, ordinal)
            if ordinal == turns and conversation_id is not None:
                kept = await _settled(app, scope, conversation_id, turns)
    assert kept is not None
    calls = {call.n: call for call in simulator.calls()}
    answers = [n for n, model, _ in simulator.recorded if model == _ANSWER]
    summaries = [(n, body) for n, model, body in simulator.recorded if model != _ANSWER]
    summarised: dict[int, int] = {}
    for _, body in summaries:
        said = _texts(body)[-1].rpartition("<conversation>")[2]
        for line in said.splitlines():
            if line.startswith("Visitor:"):
                for mark in _MARK.findall(line):
                    summarised[int(mark)] = summarised.get(int(mark), 0) + 1
    return Outcome(
        turns=turns,
        longest_prompt_tokens=max(calls[n].input_tokens for n in answers),
        room_tokens=settings.room_tokens,
        facts_at=found,
        covers_upto=kept.summary.covers_upto,
        steps=kept.steps,
        text=kept.text,
        made_by=kept.summary.made_by,
        summarised=summarised,
        summary_input_tokens=sum(calls[n].input_tokens for n, _ in summaries),
        took_s=round(time.monotonic() - began, 1),
    )


def wrongs(outcome: Outcome, undisturbed: Outcome | None, *, keep: int, every: int, tight: bool = False) -> list[str]:
    """What does not hold; `undisturbed` is the same conversation without restarts. `tight`: so little room that messages
    leave the window before their time."""
    wrong: list[str] = []
    expected = (outcome.turns - keep) // every * every
    if outcome.longest_prompt_tokens > outcome.room_tokens:
        wrong.append(f"a prompt had {outcome.longest_prompt_tokens} tokens, the room is {outcome.room_tokens}")
    wrong += [
        f"what message {PLANTED_AT} said is not in the prompt of {at}"
        for at, there in outcome.facts_at.items()
        if not there
    ]
    if tight:
        if outcome.covers_upto < expected:
            wrong.append(f"the summary reaches {outcome.covers_upto}, not {expected}")
    elif outcome.covers_upto != expected or outcome.steps != expected // every:
        wrong.append(
            f"the summary reaches {outcome.covers_upto} in {outcome.steps} steps, not {expected} in {expected // every}"
        )
    if outcome.summarised and outcome.summarised != dict.fromkeys(range(1, outcome.covers_upto + 1), 1):
        wrong.append("not every message went into the summary exactly once")
    if undisturbed is not None and outcome.text != undisturbed.text:
        wrong.append("restarts changed the summary")
    return wrong


async def _open_chatbot(app: Services) -> tuple[Scope, Chatbot]:
    tenant, _ = await manage.create_tenant(app, actor="drill", name="Memory", plan="pro")
    scope = Scope(tenant_id=tenant.id)
    new = NewChatbot(
        name="Memory",
        slug="memory",
        widget_id=new_widget_id(),
        providers=(ProviderLink(provider="openai", model=_ANSWER),),
        knowledge_enabled=False,
        cache_policy={"mode": "off"},
    )
    return scope, await manage.create_chatbot(app, scope, new, actor="drill")


def _holds_facts(simulator: Simulator, ordinal: int) -> bool:
    """Whether the prompt of that message holds every planted sentence, and not because it is still among the latest."""
    body = next(body for _, model, body in reversed(simulator.recorded) if model == _ANSWER)
    texts = _texts(body)
    assert f"m{ordinal}q" in texts[-1]
    everything = "\n".join(texts)
    assert f"m{PLANTED_AT}q" not in everything.partition("</summary>")[2]
    return all(f"{sentence.strip('. ')}." in everything for sentence in FACTS.split(". "))


def _texts(body: bytes) -> list[str]:
    return [str(one["content"]) for one in json.loads(body)["messages"]]


_OPEN = "SELECT count(*) FROM jobs WHERE tenant_id = $1 AND type = 'conversation_summary' AND state IN ('queued', 'running')"


async def _settled(app: Services, scope: Scope, conversation_id: ConversationId, turns: int) -> memory.Kept:
    """The summary once it reaches as far as it should and nobody works at it; what it is when that takes too long."""
    expected = memory.due(turns, since=0, keep=app.settings.context_messages, every=app.settings.summary_every)
    until = time.monotonic() + _SETTLED_S
    while True:
        async with app.db.transaction(scope) as db:
            at_work = await db.fetchval(_OPEN, scope.tenant_id)
            kept = await memory.load_kept(db, scope, conversation_id)
        if kept is not None and ((kept.summary.covers_upto >= expected and not at_work) or time.monotonic() > until):
            return kept
        if time.monotonic() > until:
            raise RuntimeError("there is no summary")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _worker(app: Services, addresses: Addresses) -> AsyncGenerator[None]:
    consumer = Consumer(
        url=addresses.redis_url,
        queues=list(QUEUES.values()),
        concurrency=4,
        high_priority_reserve=1,
        tenant_in_flight_cap=4,
    )
    worker = Worker(app, consumer)
    task = asyncio.create_task(worker.run(), name="drill-worker")
    try:
        yield
    finally:
        await worker.stop(grace_s=0)
        task.cancel()
        await asyncio.wait({task})


async def _main(turns: int, looked_at: Collection[int]) -> int:
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-memory-")))
        servers = await stack.enter_async_context(run_embedded(folder / "servers", durable=False))
        await migrate(servers.database_url)
        simulator = await stack.enter_async_context(run_simulator())
        base = Settings(
            data_dir=folder,
            openai_base_url=simulator.base_url,
            openai_api_key="sk-drill",
            unknown_prices="flag",
        )
        addresses = Addresses(database_url=servers.database_url, redis_url=servers.redis_url)
        tight = replace(base, cheap_model=MODEL_SUMMARISER, room_tokens=700, summary_tokens=250)
        outcome = await converse(tight, addresses, simulator, turns=turns, restarts=[turns // 2], looked_at=looked_at)
        found = wrongs(outcome, None, keep=tight.context_messages, every=tight.summary_every, tight=True)
        wrong += [f"little room: {one}" for one in found]
        print(_line("little room", outcome), flush=True)
        for name, model in (("model", MODEL_SUMMARISER), ("local", LOCAL_SUMMARISER)):
            settings = replace(base, cheap_model=model)
            undisturbed = await converse(settings, addresses, simulator, turns=turns, looked_at=looked_at)
            restarts = [at * turns // 10 for at in (1, 3, 5, 8)]
            disturbed = await converse(
                settings, addresses, simulator, turns=turns, restarts=restarts, looked_at=looked_at
            )
            for how, outcome, other in (("", undisturbed, None), (", restarted", disturbed, undisturbed)):
                found = wrongs(outcome, other, keep=settings.context_messages, every=settings.summary_every)
                wrong += [f"{name}{how}: {one}" for one in found]
                print(_line(f"{name}{how}", outcome), flush=True)
    for one in wrong:
        print(f"WRONG {one}")
    print("memory drill:", "failed" if wrong else "passed")
    return 1 if wrong else 0


def _line(name: str, outcome: Outcome) -> str:
    shown: dict[str, Any] = {
        "longest_prompt_tokens": outcome.longest_prompt_tokens,
        "room_tokens": outcome.room_tokens,
        "facts_at": outcome.facts_at,
        "covers_upto": outcome.covers_upto,
        "steps": outcome.steps,
        "summarised_once": sum(times == 1 for times in outcome.summarised.values()),
        "summarised_again": sum(times > 1 for times in outcome.summarised.values()),
        "summary_input_tokens": outcome.summary_input_tokens,
        "summary_chars": len(outcome.text),
        "made_by": outcome.made_by,
        "took_s": outcome.took_s,
    }
    return f"{name}: " + json.dumps(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--look-at", type=int, nargs="*", default=None, help="messages whose prompts are searched")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    looked_at = asked.look_at if asked.look_at is not None else [at for at in (100, 250, ASKED_AT) if at <= asked.turns]
    sys.exit(asyncio.run(_main(asked.turns, looked_at)))


if __name__ == "__main__":
    main()
