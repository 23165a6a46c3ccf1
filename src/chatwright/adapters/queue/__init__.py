"""The job queue: BullMQ's wire format and scripts, with tenant fairness and a worker loop of our own.

`names` says which queues and job types there are, `producer` adds jobs, `consumer` runs them, `admin` looks and
pauses. Valkey holds hints only; what must not be lost is in PostgreSQL, and the sweeper adds again what is missing.
"""

from chatwright.adapters.queue.admin import QueueActivity, QueueAdmin, QueueStats
from chatwright.adapters.queue.consumer import Consumer
from chatwright.adapters.queue.jobs import ConsumerHealth, Done, Failed, Outcome, QueuedJob, RetryLater
from chatwright.adapters.queue.names import QUEUES, JobKey, JobType, QueueName, QueueSpec, parse_job_id, route
from chatwright.adapters.queue.producer import JobSpec, Producer

__all__ = [
    "QUEUES",
    "Consumer",
    "ConsumerHealth",
    "Done",
    "Failed",
    "JobKey",
    "JobSpec",
    "JobType",
    "Outcome",
    "Producer",
    "QueueActivity",
    "QueueAdmin",
    "QueueName",
    "QueueSpec",
    "QueueStats",
    "QueuedJob",
    "RetryLater",
    "parse_job_id",
    "route",
]
