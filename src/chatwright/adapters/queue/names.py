"""Queues, job types, routing, priorities and job ids: pure, no I/O.

Called by the producer, the consumer and whoever decides where a job goes.
"""

from dataclasses import dataclass
from enum import StrEnum

from chatwright.domain.jobs import JobType


class QueueName(StrEnum):
    HIGH_PRIORITY = "ai-high-priority"
    STANDARD = "ai-standard"
    BATCH = "ai-batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """How one queue treats its jobs.

    `attempts` bounds runs that ended in an unexpected exception (stalls and `RetryLater` do not count); the delay
    before run n + 1 is `backoff_s * 2 ** (n - 1)`. `timeout_s` ends a handler that takes too long. `keep_*` is how
    many finished jobs stay visible. A `reserved` queue may use a worker's reserved slots; `share` is the largest
    part of the other slots that a queue may hold, so that five-minute batches cannot fill a worker.
    """

    name: QueueName
    attempts: int
    backoff_s: float
    timeout_s: float
    keep_completed: int
    keep_failed: int
    reserved: bool = False
    share: float = 1.0


QUEUES: dict[QueueName, QueueSpec] = {
    QueueName.HIGH_PRIORITY: QueueSpec(
        name=QueueName.HIGH_PRIORITY,
        attempts=3,
        backoff_s=2.0,
        timeout_s=120.0,
        keep_completed=100,
        keep_failed=1000,
        reserved=True,
    ),
    QueueName.STANDARD: QueueSpec(
        name=QueueName.STANDARD,
        attempts=5,
        backoff_s=5.0,
        timeout_s=120.0,
        keep_completed=1000,
        keep_failed=5000,
    ),
    QueueName.BATCH: QueueSpec(
        name=QueueName.BATCH,
        attempts=3,
        backoff_s=10.0,
        timeout_s=300.0,
        keep_completed=10,
        keep_failed=100,
        share=0.5,
    ),
}
"""In the order in which a worker serves them."""

LOWEST_PRIORITY = 1
HIGHEST_PRIORITY = 10
HIGH_PRIORITY_FROM = 8

_BATCH_TYPES = frozenset(
    {JobType.DOCUMENT_INDEX, JobType.KNOWLEDGE_REEMBED, JobType.SITE_CRAWL, JobType.CSV_IMPORT_BATCH}
)


def route(job_type: JobType, priority: int) -> QueueName:
    """Choose the queue: by job class first, then by public priority. Raises ValueError outside 1..10."""
    _check(priority)
    if job_type in _BATCH_TYPES:
        return QueueName.BATCH
    if job_type is JobType.CHAT_RESPONSE and priority >= HIGH_PRIORITY_FROM:
        return QueueName.HIGH_PRIORITY
    return QueueName.STANDARD


def queues_of(job_type: JobType) -> tuple[QueueName, ...]:
    """Every queue that `route` may choose for this type."""
    if job_type is JobType.CHAT_RESPONSE:
        return (QueueName.HIGH_PRIORITY, QueueName.STANDARD)
    return (route(job_type, LOWEST_PRIORITY),)


def level_of(priority: int) -> int:
    """Level 0..9 of a public priority 10..1; lower runs first. Raises ValueError outside 1..10."""
    _check(priority)
    return HIGHEST_PRIORITY - priority


def priority_of(level: int) -> int:
    """Public priority of a level; levels that only foreign producers use count as the least urgent."""
    return max(LOWEST_PRIORITY, HIGHEST_PRIORITY - level)


def _check(priority: int) -> None:
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise ValueError(f"priority must be {LOWEST_PRIORITY}..{HIGHEST_PRIORITY}, not {priority}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKey:
    """What a job id says. A replay of the same row is a new generation."""

    type: JobType
    row_id: str
    generation: int

    def __post_init__(self) -> None:
        if not self.row_id or ":" in self.row_id:
            raise ValueError("a row id must be non-empty and free of colons: BullMQ uses them in its keys")
        if self.generation < 0:
            raise ValueError("a generation is a count")

    def __str__(self) -> str:
        return f"{self.type.value}-{self.row_id}-{self.generation}"


def parse_job_id(job_id: str) -> JobKey | None:
    """Read an id made by `str(JobKey(...))`; None for any other text, such as a foreign producer's id."""
    kind, _, rest = job_id.partition("-")
    row_id, _, generation = rest.rpartition("-")
    if not row_id or ":" in row_id or not (generation.isascii() and generation.isdecimal()):
        return None
    if generation != str(int(generation)):
        return None
    try:
        return JobKey(type=JobType(kind), row_id=row_id, generation=int(generation))
    except ValueError:
        return None
