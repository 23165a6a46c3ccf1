"""Who may be called now: a circuit breaker and the key's limits for each gate, the same in all processes.

A gate is a provider, a key and an address, so a tenant's bad key never stands in another's way. As long as calls go
well this is arithmetic in memory; only opening, probing and closing a breaker, and slices of known limits, talk to
Valkey. The others hear of it by a notice, and whoever missed some reads all open breakers. While Valkey is away each
process goes by what it sees itself. `service.py` asks and tells; `run` is started by `app/services.py`.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable
from functools import partial

from chatwright.adapters.valkey import Channel, Link
from chatwright.domain.errors import ProviderError, Unavailable
from chatwright.domain.providers import StatedLimits
from chatwright.features.routing.board import Board
from chatwright.features.routing.breaker import Breaker, Cause, asked_s, open_s
from chatwright.features.routing.gate import Admission, Gate, GateState, digest_of, provider_and_owner
from chatwright.features.routing.limits import KeyLimits, pace_of
from chatwright.features.routing.permits import Permits
from chatwright.features.routing.registry import Registry
from chatwright.features.routing.rules import Verdict, judge
from chatwright.features.routing.target import Target

LOOK_S = 0.25
"""How soon to look again where another call probes: its success is told at once, its failure need not be."""
STALLED_CALLS = 8
STALLED_S = 2.0
"""A provider that is silent to 8 calls for 2 s, and for 3 times its usual delay, stalls: who can goes elsewhere. The
breaker waits for the time-outs, and ten seconds of visitors would wait with it; but a provider that is only slow, and
the only one, is still better than none."""
STATED_EMPTY_S = 5.0
"""Headers that say "nothing left" say when the bucket is full again, long after the next call would pass."""

_NO_GATE = Admission(None)
_REASONS = {Cause.LIMITED: "rate_limited", Cause.REFUSED: "key_refused"}
_CAUSES = {Verdict.LIMITED: Cause.LIMITED, Verdict.REFUSED: Cause.REFUSED}


class Gates:
    """One per process. Bounded: idle gates are forgotten."""

    def __init__(self, link: Link, channel: Channel, *, clock: Callable[[], float] | None = None) -> None:
        """`clock`: seconds, ascending; the loop's unless given."""
        self._board = Board(link, channel.log.prefix)
        self._clock = clock or asyncio.get_running_loop().time
        self._registry = Registry(self._board, channel, self._clock)
        self._gates = self._registry.gates
        self._tell = self._registry.tell
        self._process = os.urandom(6).hex()
        self._tokens = itertools.count()

    async def run(self) -> None:
        """Hear what others found out, tell what this process found out, forget idle gates; until cancelled."""
        await self._registry.run()

    async def admit(self, target: Target, tokens: int, *, alone: bool = False) -> Admission:
        """Ask for one call of about `tokens` tokens, prompt and answer together. Raises nothing, waits for no gate.

        A refusal with `wait_s` 0.0 means that the provider stalls: there is no better one if the caller asks again
        with `alone`. An admission must be handed to `done`, `failed` or `left` in the end.
        """
        if not target.gate:
            return _NO_GATE
        gate = self._gates.get(target.gate) or self._make(target)
        gate.calls += 1
        if gate.breaker.cause is not None:
            if wait_s := self._shut_for_s(gate):
                return self._refusal(gate, wait_s)
        elif gate.waiting >= STALLED_CALLS and not alone and self._stalls(gate):
            return self._refusal(gate, 0.0)
        if target.limits is not gate.configured and target.limits != gate.configured:
            gate.account = target.account
            self._configure(gate, target.limits)
        if gate.permits is not None:
            wait_s = await gate.permits.admit(tokens)
            if wait_s:
                return Admission(gate, ok=False, wait_s=wait_s, reason="rate_limited")
        token: str | None = ""
        if gate.breaker.cause is not None:
            token = await self._probe(gate, target.route.first_byte_timeout_s + 1.0)
            if token is None:
                return self._refusal(gate, max(self._shut_for_s(gate), 0.01))
        gate.waiting += 1
        if gate.waiting == STALLED_CALLS:
            gate.sign_s = self._clock()  # from here on that many wait at once
        return Admission(gate, token=token, tokens=tokens)

    def sign(self, admission: Admission) -> None:
        """The provider gave its first sign of life, visible or not."""
        gate = admission.gate
        if gate is not None and admission.silent:
            admission.silent = False
            gate.waiting -= 1
            gate.sign_s = self._clock()

    def seen(self, admission: Admission, waited_s: float, *, whole: bool = False) -> None:
        """The first visible piece came, or with `whole` the answer in one piece, `waited_s` seconds after the call."""
        gate = admission.gate
        if gate is None:
            return
        if admission.silent:
            self.sign(admission)
        (gate.whole_delays if whole else gate.delays).add(waited_s)
        if admission.token and gate.breaker.cause is not Cause.CUTTING:
            # The probe has shown what it was asked to: nobody waits for the end of its answer.
            self._probed_well(gate, admission)

    def overtaken(self, admission: Admission, waited_s: float, *, whole: bool = False) -> None:
        """Another call's first piece came before this one's. Its delay counts: else only fast calls would be known,
        and more and more would seem slow."""
        if admission.gate is not None:
            (admission.gate.whole_delays if whole else admission.gate.delays).add(waited_s)

    def done(self, admission: Admission, used_tokens: int | None = None) -> None:
        """The call went well. `used_tokens`: input and output together, None if the provider did not say."""
        gate = admission.gate
        if gate is None:
            return
        self.sign(admission)
        self._ended(gate, admission, used_tokens)
        gate.breaker.succeed()
        if admission.token:
            self._probed_well(gate, admission)

    def failed(self, admission: Admission, error: ProviderError, *, late: bool = False, used_tokens: int = 0) -> None:
        """The call failed. `late`: after visible text. `used_tokens`: what it is known to have used."""
        gate = admission.gate
        if gate is None:
            return
        if error.upstream_status is not None:
            self.sign(admission)  # it answered, if only to refuse
        self._ended(gate, admission, used_tokens)
        verdict = judge(error)
        if verdict is Verdict.NOTHING:
            self._give_back(gate, admission)
        elif verdict is Verdict.ANSWERED:
            if admission.token:
                self._probed_well(gate, admission)
        elif verdict is Verdict.FAILING:
            cause = Cause.CUTTING if late else Cause.FAILING
            if admission.token or (gate.breaker.cause is None and gate.breaker.fail(self._clock())):
                self._open(gate, cause, token=admission.token)
        else:
            self._open(gate, _CAUSES[verdict], retry_after_s=error.retry_after_s, token=admission.token)
        admission.token = ""

    def left(self, admission: Admission, used_tokens: int | None = None) -> None:
        """The call ended for a reason of ours (its reader left, its rival won): it says nothing about the provider."""
        if admission.gate is not None:
            self._ended(admission.gate, admission, used_tokens)
            self._give_back(admission.gate, admission)

    def heard(self, name: str, stated: StatedLimits) -> None:
        """Learn from the headers of an answer. Costs next to nothing when they say what they said before."""
        gate = self._gates.get(name)
        if gate is None:
            return
        now = self._clock()
        changed = False
        for window, learned in ((stated.requests, gate.learned_requests), (stated.tokens, gate.learned_tokens)):
            if window is None:
                continue
            changed = learned.hear(window.limit, now) or changed
            # 0 of 0, 0 of -1: a server that does not limit.
            if window.remaining == 0 and window.reset_s and (window.limit is None or window.limit > 0):
                self._open(gate, Cause.LIMITED, retry_after_s=min(window.reset_s, STATED_EMPTY_S))
        if changed and gate.configured is not None:
            self._configure(gate, gate.configured)

    def p95_s(self, target: Target, *, whole: bool = False) -> float | None:
        """Within how many seconds 95 % of the calls show their first piece; None while too little is known."""
        gate = self._gates.get(target.gate)
        if gate is None:
            return None
        return (gate.whole_delays if whole else gate.delays).p95_s

    def wait_s(self, target: Target) -> float:
        """Seconds until it is worth to ask for admission; 0.0 now."""
        gate = self._gates.get(target.gate)
        return self._shut_for_s(gate) if gate is not None and gate.breaker.cause is not None else 0.0

    async def wait(self, target: Target, at_most_s: float) -> None:
        """Sleep until the target's breaker closes, at most so long."""
        gate = self._gates.get(target.gate)
        if gate is None:
            await asyncio.sleep(at_most_s)
            return
        loop = asyncio.get_running_loop()
        waker: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(at_most_s, lambda: None if waker.done() else waker.set_result(None))
        gate.wakers.add(waker)
        try:
            await waker
        finally:
            timer.cancel()
            gate.wakers.discard(waker)

    def states(self, wanted: Callable[[str], bool] = lambda _: True) -> list[GateState]:
        """The gates in use here, and those that are shut elsewhere, whose name is `wanted`: for health and metrics.

        Of a gate that is shut elsewhere the name holds provider and owner only.
        """
        now, unix = self._clock(), time.time()
        elsewhere: list[GateState] = []
        for opening, until_s in self._registry.unseen():
            provider, owner = provider_and_owner(opening.digest)
            if not wanted(name := f"{provider}|{owner}|"):
                continue
            breaker = Breaker(now)
            breaker.open(now, opening.cause, until_s - now, opening.level)
            elsewhere.append(
                GateState(
                    gate=name,
                    provider=provider,
                    state=breaker.state(now),
                    since=unix,
                    retry_in_s=breaker.wait_s(now),
                    recent_failures=0,
                    p95_first_delta_ms=None,
                    limits=KeyLimits(),
                    learned=KeyLimits(),
                )
            )
        return elsewhere + [
            GateState(
                gate=gate.name,
                provider=gate.provider,
                state=gate.breaker.state(now),
                since=unix - (now - gate.breaker.since_s),
                retry_in_s=gate.breaker.wait_s(now),
                recent_failures=gate.breaker.recent_failures(now),
                p95_first_delta_ms=None if (p95_s := gate.delays.p95_s) is None else p95_s * 1000,
                limits=gate.limits,
                learned=KeyLimits(
                    requests_per_minute=gate.learned_requests.limit, tokens_per_minute=gate.learned_tokens.limit
                ),
            )
            for gate in self._gates.values()
            if wanted(gate.name)
        ]

    def _make(self, target: Target) -> Gate:
        return self._registry.make(target.gate, target.route.provider, partial(self.heard, target.gate))

    def _configure(self, gate: Gate, configured: KeyLimits) -> None:
        """Put the operator's limits in force, and the learned ones where there are none."""
        gate.configured = configured
        limits = KeyLimits(
            requests_per_minute=configured.requests_per_minute or gate.learned_requests.limit,
            tokens_per_minute=configured.tokens_per_minute or gate.learned_tokens.limit,
        )
        gate.limits = limits
        if limits == KeyLimits():
            gate.permits = None
            return
        # What the operator set holds for the key, whatever the model; what the provider states, for this model.
        bucket = digest_of(gate.account) if gate.account and configured != KeyLimits() else gate.digest
        if gate.permits is None or gate.permits.digest != bucket:
            gate.permits = Permits(self._board, bucket, self._clock)
        gate.permits.requests = pace_of(limits.requests_per_minute, stated=not configured.requests_per_minute)
        gate.permits.tokens = pace_of(limits.tokens_per_minute, stated=not configured.tokens_per_minute)

    def _shut_for_s(self, gate: Gate) -> float:
        now = self._clock()
        if now < gate.breaker.until_s:
            return gate.breaker.until_s - now
        return LOOK_S if now < gate.breaker.probe_until_s or gate.asking else 0.0

    def _refusal(self, gate: Gate, wait_s: float) -> Admission:
        cause = gate.breaker.cause or Cause.FAILING
        return Admission(gate, ok=False, wait_s=wait_s, reason=_REASONS.get(cause, "breaker_open"))

    async def _probe(self, gate: Gate, hold_s: float) -> str | None:
        """Ask to be the one call that finds out, for at most `hold_s` seconds. Returns its token; empty if the breaker
        has closed meanwhile, None if another call probes or the breaker stays open."""
        breaker = gate.breaker
        if breaker.cause is None:
            return ""
        if self._shut_for_s(gate):
            return None
        token = f"{self._process}{next(self._tokens):x}"
        gate.asking = True
        try:
            if self._board.connected:
                async with self._board.in_time():
                    probe = await self._board.probe(
                        gate.digest, token, hold_s=hold_s, cause=breaker.cause, level=breaker.level
                    )
                now = self._clock()
                match probe.said:
                    case "healed":
                        gate.close(now)
                        return ""
                    case "open":
                        breaker.open(now, probe.cause, probe.left_s, probe.level)
                        return None
                    case "taken":
                        breaker.probe_until_s = now + min(probe.left_s, LOOK_S)
                        return None
                    case _:
                        breaker.level = probe.level
        except Unavailable:
            pass
        except BaseException:
            self._tell(partial(self._board.release, gate.digest, token))  # it may have been given meanwhile
            raise
        finally:
            gate.asking = False
        breaker.probe_until_s = self._clock() + hold_s
        return token

    def _probed_well(self, gate: Gate, admission: Admission) -> None:
        token, admission.token = admission.token, ""
        if self._clock() < gate.breaker.until_s:
            return  # opened anew since the probe began: an empty limit that its own answer stated, another's failure
        gate.close(self._clock())
        self._tell(partial(self._board.close, gate.digest, token))

    def _give_back(self, gate: Gate, admission: Admission) -> None:
        token, admission.token = admission.token, ""
        if token:
            gate.breaker.probe_until_s = 0.0
            gate.wake()
            self._tell(partial(self._board.release, gate.digest, token))

    def _ended(self, gate: Gate, admission: Admission, used_tokens: int | None) -> None:
        if admission.silent:
            admission.silent = False
            gate.waiting -= 1
        if gate.permits is not None and used_tokens is not None:
            gate.permits.correct(admission.tokens, used_tokens)

    def _stalls(self, gate: Gate) -> bool:
        usual_s = max(gate.delays.p95_s or 0.0, gate.whole_delays.p95_s or 0.0)
        return usual_s > 0 and self._clock() - gate.sign_s > max(STALLED_S, 3 * usual_s)

    def _open(self, gate: Gate, cause: Cause, *, retry_after_s: float | None = None, token: str = "") -> None:
        """Open the breaker here at once, and then for everybody."""
        now = self._clock()
        breaker = gate.breaker
        jitter = random.random()  # noqa: S311
        fixed_s = asked_s(cause, retry_after_s, jitter)
        if breaker.cause is not None and not token:
            if now < breaker.probe_until_s or (now < breaker.until_s and now + fixed_s <= breaker.until_s):
                return  # another call's late failure: nothing new
            if now >= breaker.until_s and not fixed_s:
                return
        still_open = now < breaker.until_s and not token
        level = breaker.level if still_open else breaker.next_level(now, cause)
        breaker.open(now, cause, fixed_s or open_s(level, jitter), level)
        gate.unshared = True
        self._tell(partial(self._tell_open, gate, cause, fixed_s, jitter, level, token))

    async def _tell_open(self, gate: Gate, cause: Cause, fixed_s: float, jitter: float, level: int, token: str) -> None:
        opening = await self._board.open(gate.digest, cause, fixed_s=fixed_s, jitter=jitter, level=level, token=token)
        gate.unshared = False
        if opening is not None and gate.breaker.cause is not None:
            gate.breaker.open(self._clock(), opening.cause, opening.left_s, opening.level)
