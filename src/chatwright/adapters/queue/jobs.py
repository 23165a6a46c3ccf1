"""What a handler gets and what it answers, and their form on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from chatwright.adapters.queue.fairness import level_of_number
from chatwright.adapters.queue.names import priority_of


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """A job as it was taken from the queue.

    `priority` is the public one, 1..10. `started` counts every start, this one included (stalls and hand-backs too);
    `failed_attempts` counts earlier runs that ended in an unexpected exception. `enqueued_at_s` is Unix time.
    """

    id: str
    type: str
    queue: str
    data: dict[str, Any]
    priority: int
    enqueued_at_s: float
    started: int
    failed_attempts: int = 0

    @property
    def tenant_id(self) -> str:
        """Tenant of the job; jobs without one (foreign producers) count as one tenant, the empty id."""
        tenant = self.data.get("tenant_id")
        return tenant if isinstance(tenant, str) else ""


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished. `result` must be JSON; it is kept with the job for dashboards, nobody of ours reads it."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Run the job again after `delay_s`. Not an attempt: how often is the handler's own business."""

    delay_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job will not be run again. Whoever needs a dead letter writes it before."""

    reason: str


Outcome: TypeAlias = Done | RetryLater | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerHealth:
    """`consuming` is what readiness asks for: running, and in touch with Valkey within the last few seconds.

    `last_poll_age_s` is infinite before the first contact. `fetch_errors` counts failed round trips since the start.
    """

    running: bool
    consuming: bool
    last_poll_age_s: float
    in_flight: int
    fetch_errors: int


@dataclass(frozen=True, slots=True)
class Finish:
    """What to tell BullMQ about a job that ended. `kind` is as in cycle.lua; `number` is a delay in ms; `started` tells
    this attempt from a later one."""

    kind: str
    raw_id: bytes
    token: str
    text: str = ""
    number: int = 0
    started: int = 0

    def wire(self) -> list[Any]:
        # a lone surrogate cannot be packed, and would end the round trip of all
        return [self.kind, self.token, self.text.encode(errors="replace").decode(), self.number, self.started]


_decode = msgspec.json.Decoder().decode


def decode_job(queue: str, raw_id: bytes, hash_items: Sequence[bytes]) -> tuple[QueuedJob, str]:
    """Read a job hash (field, value, field, value …). Returns the job and what is wrong with it, or "".

    Never raises: whatever a foreign producer wrote, the job must end as failed and not as a loop that ends.
    """
    fields = dict(zip(hash_items[::2], hash_items[1::2], strict=False))
    problem, data = "", {}
    if b"defa" in fields:
        problem = fields[b"defa"].decode(errors="replace")
    try:
        decoded = _decode(fields.get(b"data", b""))
        if isinstance(decoded, dict):
            data = {str(key): value for key, value in decoded.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        else:
            problem = problem or "the job's data is not a JSON object"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = problem or "the job's data is missing or not JSON"
    job = QueuedJob(
        id=raw_id.decode(errors="replace"),
        type=fields.get(b"name", b"").decode(errors="replace"),
        queue=queue,
        data=data,
        priority=priority_of(level_of_number(_integer(fields.get(b"priority")))),
        enqueued_at_s=_integer(fields.get(b"timestamp")) / 1000,
        started=_integer(fields.get(b"ats")),
        failed_attempts=_integer(fields.get(b"atm")),
    )
    return job, problem


def encode_result(result: Any) -> str:
    """JSON of a handler's result; "null" for what JSON cannot hold."""
    if result is None:
        return "null"
    try:
        return msgspec.json.encode(result).decode()
    except (TypeError, ValueError, RecursionError):
        return "null"


def _integer(text: bytes | None) -> int:
    try:
        return int(float(text or b"0"))
    except (ValueError, OverflowError):
        return 0
