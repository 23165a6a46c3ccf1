"""The run of the provider drill: phases of faults at steady load, hedging, one tenant's bad key, what is left behind."""

import asyncio
import math
import random
import re
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.drill.evidence import Violation
from bench.drill.measured import Check
from bench.drill.providers.evidence import PRIMARY, SECONDARY, Evidence, Phase, PhaseSummary, Way
from bench.drill.providers.scene import CHAIN, DEADLINE_S, Scene, open_scene, wait_for
from bench.drill.providers.script import AFTER, BEFORE, LONG_LIMIT, write_questions
from bench.drill.providers.verdict import calls_by_key, judge, summarise

RATE_PER_S = 40.0
"""Of each way."""
_WAYS: tuple[Way, ...] = ("queued", "stream")
_RECOVERY_LIMIT_S = 45.0  # a breaker stays open for up to 30 s, a rate limit as long as the provider asked
_REST_LIMIT_S = 35.0  # an idle connection is kept for 15 s, and looked at every 15 s
_OPEN_SOCKETS = re.compile(rb"^chatwright_open_sockets(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
Tell = Callable[[str], None]


@dataclass(kw_only=True)
class ProviderResult:
    """What the drill showed."""

    violations: list[Violation]
    checks: list[Check]
    phases: list[PhaseSummary]
    took_s: float
    keep: str = ""
    """Where the logs lie, if something was wrong."""

    @property
    def held(self) -> bool:
        return not self.violations and all(check.held for check in self.checks)


@dataclass(kw_only=True)
class _Run:
    """What a run has gathered so far."""

    scene: Scene
    tell: Tell
    draw: random.Random
    phases: list[Phase] = field(default_factory=list[Phase])
    checks: list[Check] = field(default_factory=list[Check])

    async def phase(
        self,
        name: str,
        seconds: float,
        *,
        where: Literal["before", "after"] = "before",
        faults: Sequence[str] = (),
        share: float = 0.0,
        rate_per_s: float = RATE_PER_S,
    ) -> Phase:
        """Ask for so long, half over each way; the primary fails at `share` of the questions."""
        self.tell(name)
        count = max(1, round(seconds * rate_per_s))
        short = f"p{len(self.phases)}"
        asked = [
            write_questions(self.draw, name=short, way=way, count=count, faults=faults, share=share) for way in _WAYS
        ]
        async with asyncio.TaskGroup() as asking:
            for questions in asked:
                asking.create_task(self.scene.asker.steadily(questions, rate_per_s=rate_per_s), name=f"{name} asks")
        phase = Phase(name=name, where=where, questions=[question for questions in asked for question in questions])
        self.phases.append(phase)
        return phase

    async def recovery(self, after: str) -> None:
        """Ask now and then until the primary answers again."""
        self.tell("until the primary is asked again")
        number = 0

        async def answers() -> bool:
            nonlocal number
            number += 1
            question = write_questions(
                self.draw, name=f"r{len(self.checks)}-{number}", way="stream", count=1, faults=(), share=0
            )[0]
            await self.scene.asker.ask(question)
            return question.shown == question.whole(PRIMARY)

        took_s = await wait_for(answers, limit_s=_RECOVERY_LIMIT_S, every_s=0.5)
        self.checks.append(
            Check(
                name=f"{after}: the primary answers again", value=math.nan if took_s is None else took_s, unit="s",
                limit=_RECOVERY_LIMIT_S, samples=number,
            )
        )  # fmt: skip


async def run_provider_drill(*, seed: int, seconds: float, tell: Tell) -> ProviderResult:
    """Run all of it; `seconds` is the length of a full phase. Raises NotStarted, RuntimeError."""
    began_s = time.monotonic()
    data_dir = Path(tempfile.mkdtemp(prefix="cw-drill-p-"))
    notes = Path(tempfile.mkdtemp(prefix="cw-drill-p-notes-"))
    try:
        async with open_scene(notes, data_dir) as scene:
            result = await _run(scene, seed=seed, seconds=seconds, tell=tell)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    result.took_s = time.monotonic() - began_s
    if result.held:
        shutil.rmtree(notes, ignore_errors=True)
    else:
        result.keep = str(notes)
    return result


async def _run(scene: Scene, *, seed: int, seconds: float, tell: Tell) -> ProviderResult:
    run = _Run(scene=scene, tell=tell, draw=random.Random(f"providers-{seed}"))
    part = max(2.0, seconds / 4)
    await run.phase("no fault", part)
    descriptors = scene.descriptors()
    await run.phase("one in six fails before its first word", seconds, faults=BEFORE, share=1 / 6)
    await run.recovery("one in six failed")
    await run.phase("every call fails before its first word", seconds, faults=(*BEFORE, LONG_LIMIT), share=1)
    await run.recovery("every call failed")
    await run.phase("one in six breaks off in its text", seconds, where="after", faults=AFTER, share=1 / 6)
    await run.recovery("one in six broke off")
    await run.phase("every call breaks off in its text", part, where="after", faults=AFTER, share=1)
    await run.recovery("every call broke off")
    await scene.primary.stop()
    await run.phase("nobody listens at the primary's address", part)
    await scene.primary.start()
    await run.recovery("nobody listened")
    for name, scenario in (("hedging", _hedging), ("one tenant's bad key", _bad_key)):
        tell(name)
        try:
            await scenario(run, part)
        except Exception as error:
            run.checks.append(Check(name=name, value=math.nan, unit="", limit=0, note=f"broke: {error!r}"[:400]))
    tell("at rest")
    run.checks += await _left_behind(scene, descriptors)
    calls = scene.primary.calls() + scene.secondary.calls()
    evidence = Evidence(
        phases=run.phases,
        calls=calls,
        rows=await scene.rows(),
        messages=await scene.messages(),
        deadline_s=DEADLINE_S,
    )
    by_key = calls_by_key(calls)
    return ProviderResult(
        violations=judge(evidence),
        checks=run.checks,
        phases=[summarise(phase, by_key) for phase in run.phases],
        took_s=0.0,
    )


async def _hedging(run: _Run, seconds: float) -> None:
    """Three in a hundred of the primary's answers are slow: the secondary is asked too, and its answer is shown."""
    chatbot, asker = "hedged", run.scene.asker_of(run.scene.tenant, "hedged")
    await run.scene.rest.make_chatbot(run.scene.tenant, chatbot, providers=CHAIN, hedging=True)
    count = max(100, round(seconds * RATE_PER_S))
    questions = write_questions(run.draw, name="h", way="stream", count=count, faults=("ttft=2500",), share=0)
    for number, question in enumerate(questions):
        if number % 33 == 32:
            question.text += f" [[sim@{PRIMARY}:ttft=2500]]"
            question.faulty = True
    await asker.steadily(questions, rate_per_s=RATE_PER_S)
    run.phases.append(Phase(name="hedging, three in a hundred are slow", where="before", questions=questions))
    slow = [question.first_s or math.nan for question in questions if question.faulty]
    overtaken = sum(question.shown == question.whole(SECONDARY) for question in questions if question.faulty)
    run.checks += [
        Check(name="hedging: longest wait for the first word of a slow answer", value=max(slow, default=math.nan), unit="s", limit=1.5, samples=len(slow)),
        Check(name="hedging: slow answers that the secondary did not give", value=float(len(slow) - overtaken), unit="", limit=0, samples=len(slow)),
    ]  # fmt: skip


async def _bad_key(run: _Run, seconds: float) -> None:
    """Tenant A's key for the primary is refused. B, with a key of its own, and the platform's must not notice."""
    scene = run.scene
    await scene.primary.running.control(key_ok="ated+good")
    tenants = {name: await scene.rest.make_tenant(f"key {name}") for name in ("bad", "good")}
    for name, tenant in tenants.items():
        body = {"provider": "openai", "secret": f"sk-tenant-{name}"}
        await scene.rest.call("POST", "/api/v1/provider-keys", tenant.key, body)
        await scene.rest.make_chatbot(tenant, "keyed", providers=CHAIN)
    askers = {name: scene.asker_of(tenant, "keyed") for name, tenant in tenants.items()} | {"platform": scene.asker}
    asked = {
        name: write_questions(
            run.draw, name=f"k{name}", way="stream", count=max(20, round(seconds * 5)), faults=(), share=0
        )
        for name in askers
    }
    async with asyncio.TaskGroup() as asking:
        for name, asker in askers.items():
            asking.create_task(asker.steadily(asked[name], rate_per_s=5), name=f"{name} asks")
    await scene.primary.running.control()
    for name, questions in asked.items():
        run.phases.append(Phase(name=f"a refused key: {name}", where="before", questions=questions))
    strays = sum(question.shown != question.whole(PRIMARY) for name in ("good", "platform") for question in asked[name])
    by_key = calls_by_key(scene.primary.calls())
    refused = sum(call.status == 401 for question in asked["bad"] for call in by_key.get(question.key, ()))
    run.checks += [
        Check(
            name="a tenant's refused key: answers of others that the primary did not give", value=float(strays), unit="",
            limit=0, samples=len(asked["good"]) + len(asked["platform"]),
        ),
        # One finds out; what was under way at that moment finds out too.
        Check(
            name="a tenant's refused key: calls with it", value=float(refused) if refused else math.nan, unit="", limit=5,
            samples=len(asked["bad"]),
        ),
    ]  # fmt: skip


async def _left_behind(scene: Scene, descriptors: int) -> list[Check]:
    """What is still open when everybody has gone home."""
    await scene.asker.close()
    await wait_for(lambda: _none(scene.open_calls), limit_s=5)
    open_calls = await scene.open_calls()

    async def sockets() -> int:
        return len(scene.provider_sockets())

    await wait_for(lambda: _none(sockets), limit_s=_REST_LIMIT_S)
    left = scene.provider_sockets()
    found = [float(value) for value in _OPEN_SOCKETS.findall(await _metrics(scene))]
    faults = sum(call.ended != "complete" for call in scene.primary.calls())
    return [
        Check(name=f"answers still under way for nobody after {faults:,} faults", value=float(open_calls), unit="", limit=0, samples=faults),
        Check(name="connections to providers, long after the last answer", value=float(len(left)), unit="", limit=0, samples=faults, note=", ".join(left[:3])),
        Check(name="sockets and streams that the API counts as open", value=sum(found) if found else math.nan, unit="", limit=0),
        Check(name="open files and sockets more than after the phase without faults", value=float(scene.descriptors() - descriptors), unit="", limit=12),
    ]  # fmt: skip


async def _none(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() == 0


async def _metrics(scene: Scene) -> bytes:
    headers = {"authorization": f"Bearer {scene.product.admin_key}"}
    async with scene.session.get(scene.product.base_url + "/metrics", headers=headers) as response:
        return await response.read()
