"""Lets requests in within their limits, one round trip each, and puts right afterwards what they took too much.

What is put right travels in groups beside the requests: leases at once, tokens every twentieth of a second. While Valkey
is away the same limits hold in each process for itself. Called by `pipeline/limits.py`.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from chatwright.adapters.valkey import Link
from chatwright.domain.errors import ChatwrightError, RateLimited, Unavailable
from chatwright.domain.ids import TenantId
from chatwright.domain.limits import Standing
from chatwright.features.limits import store
from chatwright.features.limits.local import KEPT_AT_MOST, LocalLimits
from chatwright.features.limits.rules import Bucket, Rule, standing_of

log = structlog.get_logger(__name__)

SOUR_S = 1.0
"""After Valkey did not answer in time nobody asks it for this long."""
SETTLE_EVERY_S = 0.05
SETTLE_AT_MOST = 500
"""Corrections and leases in one call."""
FLUSHES_AT_MOST = 16
WAITING_AT_MOST = 20_000
"""Tenants' corrections kept while Valkey is slow; beyond it they are dropped, and end by themselves."""


@dataclass(slots=True)
class Ticket:
    """What one request was let in with; hand it to `Limiter.release` when the request has ended. `standing` is for headers."""

    tenant_id: TenantId
    member: str = ""
    tokens: int = 0
    buckets: Sequence[Bucket] = ()
    leases: Sequence[tuple[str, int]] = ()
    local: bool = False
    standing: Standing | None = None


@dataclass(slots=True)
class _Settlement:
    corrections: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    releases: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Limiter:
    """One per process. Make it with `open_limiter`."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._local = LocalLimits()
        self._clock = asyncio.get_running_loop().time
        self._sour_until_s = -math.inf
        self._is_local = False
        self._local_messages: dict[str, Ticket] = {}
        self._waiting: dict[TenantId, _Settlement] = {}
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._planned = False
        self._flushes = 0

    @property
    def is_local(self) -> bool:
        """Whether the latest request was let in, or refused, by this process alone."""
        return self._is_local

    async def admit(
        self,
        tenant_id: TenantId,
        rules: Sequence[Rule],
        *,
        tokens: int,
        member: str,
        hold_s: float,
        keep_record: bool = False,
    ) -> Ticket:
        """Take one request, `tokens` tokens and a lease from everything the rules limit, or nothing of it.

        `member` names the request; its leases end after `hold_s` whatever happens. `keep_record`: any process may settle
        it by its name alone (`settle_message`). Raises RateLimited, with the time after which it would pass; waits at most
        half a second for Valkey.
        """
        buckets, leases, counts_tokens = self._parts(tenant_id, rules, tokens)
        ticket = Ticket(tenant_id, member, tokens, buckets, leases)
        record = None
        if keep_record and (counts_tokens or leases):
            record = (self._record_key(tenant_id, member), self._record(ticket))
        if not buckets and not leases:
            return ticket
        if self._planned:
            await asyncio.sleep(0)  # what was just given back is told first
        found = None
        if self._link.connected and self._clock() >= self._sour_until_s:
            try:
                found = await store.admit(self._link, buckets, leases, member, hold_s=hold_s, record=record)
            except ChatwrightError as error:
                self._sour_until_s = self._clock() + SOUR_S
                self._say_local(error)
                if leases:  # it may have been taken although nobody was told
                    self._settlement(tenant_id).releases.extend((key, member) for key, _ in leases)
                    self._wake.set()
        if found is None:
            self._say_local(None)
            ticket.local = True
            if record is not None:
                self._keep_local(ticket)
            found = self._local.admit(self._clock() * 1e6, buckets, leases, member, hold_s * 1e6)
        else:
            if self._is_local:
                self._is_local = False
                log.info("limits.shared_again")
            self._local.learn(self._clock() * 1e6, buckets, found[2])
        place, wait_us, debts = found
        ticket.standing = standing_of(buckets, debts)
        if place:
            raise _refusal(place, wait_us / 1e6, rules, buckets, leases, ticket.standing)
        return ticket

    def release(self, ticket: Ticket, used_tokens: int | None) -> None:
        """The request has ended, having used so many tokens (None: as many as were taken). Waits for nothing."""
        delta = 0 if used_tokens is None else used_tokens - ticket.tokens
        if ticket.local:
            self._local_messages.pop(ticket.member, None)
            now_us = self._clock() * 1e6
            for bucket in ticket.buckets:
                if bucket.tokens and delta:
                    self._local.correct(now_us, bucket.key, limit=bucket.limit, tokens=delta)
            for key, _ in ticket.leases:
                self._local.release(key, ticket.member)
            return
        if not ticket.leases and not delta:
            return
        settlement = self._settlement(ticket.tenant_id)
        if delta:
            for bucket in ticket.buckets:
                if bucket.tokens:
                    before = settlement.corrections.get(bucket.key, (0, 0))[1]
                    settlement.corrections[bucket.key] = (bucket.limit, before + delta)
        if ticket.leases:
            settlement.releases.extend([(key, ticket.member) for key, _ in ticket.leases])
            self._plan()
        elif settlement.corrections:
            self._wake.set()

    async def settle_message(self, tenant_id: TenantId, member: str, *, used_tokens: int | None) -> None:
        """Settle a queued message that any process let in. Twice is once; a Valkey that is away is not waited for."""
        ticket = self._local_messages.get(member)
        if ticket is not None:
            self.release(ticket, used_tokens)
            return
        if not self._link.connected:
            return
        try:
            record = await store.take_record(self._link, self._record_key(tenant_id, member))
            if record is not None:
                corrections, leases = self._read_record(tenant_id, record, used_tokens)
                if corrections or leases:
                    await store.settle(self._link, corrections, [(key, member) for key in leases])
        except Unavailable as error:
            log.info("limits.not_settled", member=member, error=error.message)

    async def run(self) -> None:
        """Tell Valkey what is put right, until cancelled."""
        with suppress(ChatwrightError):  # the script is known there from now on: the first lease goes back at once too
            await store.settle(self._link, (), ())
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    await self._wake.wait()
                    await asyncio.sleep(SETTLE_EVERY_S)
                    self._wake.clear()
                    self._plan()
        finally:
            self._group = None

    def _plan(self) -> None:
        """Have what waits told in the loop's next round: before any request that its answers' readers send next."""
        if self._planned:
            return
        if self._group is None or self._flushes >= FLUSHES_AT_MOST:
            self._wake.set()  # a little later, then
            return
        self._planned = True
        self._flushes += 1
        self._group.create_task(self._flush(), name="limits-settle")

    async def _flush(self) -> None:
        self._planned = False
        waiting, self._waiting = self._waiting, {}
        try:
            for settlement in waiting.values():
                corrections = [(key, limit, tokens) for key, (limit, tokens) in settlement.corrections.items()]
                releases = settlement.releases
                while corrections or releases:
                    group, corrections = corrections[:SETTLE_AT_MOST], corrections[SETTLE_AT_MOST:]
                    room = SETTLE_AT_MOST - len(group)
                    ended, releases = releases[:room], releases[room:]
                    if self._link.connected:  # else dropped: buckets fill and leases end by themselves
                        await store.settle(self._link, group, ended)
        except ChatwrightError as error:
            log.info("limits.not_settled", error=error.message)
        finally:
            self._flushes -= 1

    def _settlement(self, tenant_id: TenantId) -> _Settlement:
        settlement = self._waiting.get(tenant_id)
        if settlement is None or len(settlement.releases) >= WAITING_AT_MOST:
            while len(self._waiting) >= WAITING_AT_MOST:
                del self._waiting[next(iter(self._waiting))]
            settlement = self._waiting[tenant_id] = _Settlement()
        return settlement

    def _parts(
        self, tenant_id: TenantId, rules: Sequence[Rule], tokens: int
    ) -> tuple[list[Bucket], list[tuple[str, int]], bool]:
        """(buckets, leases with their limits, whether tokens are counted)."""
        buckets: list[Bucket] = []
        leases: list[tuple[str, int]] = []
        counts_tokens = False
        start = self._start(tenant_id)
        for rule in rules:
            limits = rule.limits
            if limits.requests_per_minute:
                key = f"{start}{rule.kind}:{rule.id}:r"
                buckets.append(Bucket(key, rule.kind, limits.requests_per_minute, 1))
            if limits.tokens_per_minute:
                key = f"{start}{rule.kind}:{rule.id}:t"
                buckets.append(Bucket(key, rule.kind, limits.tokens_per_minute, tokens, tokens=True))
                counts_tokens = True
            if limits.concurrency:
                leases.append((f"{start}{rule.kind}:{rule.id}:c", limits.concurrency))
        return buckets, leases, counts_tokens

    def _record_key(self, tenant_id: TenantId, member: str) -> str:
        return f"{self._start(tenant_id)}message:{member}"

    def _record(self, ticket: Ticket) -> str:
        """What a message took, so that whoever ends it need not know the key or the limits it came with: its tokens, its
        token buckets with their limits, its leases."""
        start = len(self._start(ticket.tenant_id))
        lines = [str(ticket.tokens)]
        lines += [f"{bucket.key[start:]} {bucket.limit}" for bucket in ticket.buckets if bucket.tokens]
        lines += [key[start:] for key, _ in ticket.leases]
        return "\n".join(lines)

    def _read_record(
        self, tenant_id: TenantId, record: str, used_tokens: int | None
    ) -> tuple[list[tuple[str, int, int]], list[str]]:
        """(corrections, leases) for `store.settle`."""
        start = self._start(tenant_id)
        taken, *lines = record.split("\n")
        corrections: list[tuple[str, int, int]] = []
        leases: list[str] = []
        for line in lines:
            name, _, limit = line.partition(" ")
            if not limit:
                leases.append(start + name)
            elif used_tokens is not None and used_tokens != int(taken):
                corrections.append((start + name, int(limit), used_tokens - int(taken)))
        return corrections, leases

    def _keep_local(self, ticket: Ticket) -> None:
        while len(self._local_messages) >= KEPT_AT_MOST:
            del self._local_messages[next(iter(self._local_messages))]
        self._local_messages[ticket.member] = ticket

    def _start(self, tenant_id: TenantId) -> str:
        return f"{self._prefix}:{{{tenant_id}}}:limit:"

    def _say_local(self, error: ChatwrightError | None) -> None:
        if not self._is_local:
            self._is_local = True
            log.warning("limits.local", error=error.message if error else "Valkey is away")


@asynccontextmanager
async def open_limiter(link: Link, prefix: str) -> AsyncGenerator[Limiter]:
    """A limiter with its writer."""
    limiter = Limiter(link, prefix)
    task = asyncio.create_task(limiter.run(), name="limits")
    try:
        yield limiter
    finally:
        task.cancel()
        await asyncio.wait({task})


def _refusal(
    place: int,
    wait_s: float,
    rules: Sequence[Rule],
    buckets: Sequence[Bucket],
    leases: Sequence[tuple[str, int]],
    standing: Standing,
) -> RateLimited:
    if place <= len(buckets):
        bucket = buckets[place - 1]
        unit = "tokens" if bucket.tokens else "requests"
        kind = bucket.kind
        words = f"the {kind} may use {bucket.limit:,} {unit} a minute"
    else:
        unit = "concurrency"
        limit = leases[place - len(buckets) - 1][1]
        kind = [rule.kind for rule in rules if rule.limits.concurrency][place - len(buckets) - 1]
        words = f"the {kind} may have {limit:,} answers under way at once"
    return RateLimited(
        f"{words}; try again in {_seconds(wait_s)} s", retry_after_s=wait_s, standing=standing, scope=kind, unit=unit
    )


def _seconds(wait_s: float) -> str:
    return f"{max(wait_s, 0.1):.1f}"
