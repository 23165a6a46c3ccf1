"""Single jobs, and dead letters: what failed for good, to be looked at, replayed or discarded."""

from dataclasses import asdict
from datetime import UTC

import msgspec

from chatwright.domain.errors import BadRequest, NotFound, Unprocessable
from chatwright.domain.ids import DeadLetterId, JobId, is_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import staff_of, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import idempotency_key, once
from chatwright.entrypoints.wire import DeadLetterReplay, DeadLetterReplayed, JobAccepted, JobCreate, Page
from chatwright.features import jobs
from chatwright.features.jobs import DeadLetter
from chatwright.pipeline import submit

_job = msgspec.json.Decoder(JobCreate)
_replay = msgspec.json.Decoder(DeadLetterReplay)
_LETTER_STATES = ("open", "replayed", "discarded", "all")


async def create(call: Call) -> Reply:
    scope = tenant_of(call).scope
    call.require_json()
    raw = await call.body()
    body = decode(_job, raw)
    try:
        job_type = JobType(body.type)
    except ValueError:
        raise Unprocessable(f"no such job type; use one of {', '.join(JobType)}", param="type") from None
    try:
        deadline = None if body.deadline is None else body.deadline.astimezone(UTC)
    except OverflowError:  # in UTC it would lie before the year 1 or after 9999
        raise Unprocessable("the deadline is beyond all dates", param="deadline") from None
    chatbot = None if body.chatbot is None else await call.app.chatbots.get(scope, body.chatbot)

    async def work() -> Reply:
        job_id = await submit.submit_job(
            call.app,
            scope,
            job_type=job_type,
            chatbot=chatbot,
            payload=body.payload,
            priority=body.priority,
            deadline=deadline,
            cost_estimate_nano=body.cost_estimate_nano,
            idempotency_key=idempotency_key(call),
        )
        return json_reply(JobAccepted(job_id), status=202)

    return await once(call, scope, raw, work)


async def get(call: Call) -> Reply:
    scope = tenant_of(call).scope
    job_id = call.params["job_id"]
    job = None
    if is_id(job_id):
        async with call.app.db.transaction(scope) as db:
            job = await jobs.get_job(db, scope, JobId(job_id))
    if job is None:
        raise NotFound("no such job")
    return json_reply(job)


async def list_letters(call: Call) -> Reply:
    tenant = staff_of(call)
    after, limit = call.page()
    state = call.query("state") or "open"
    if state not in _LETTER_STATES:
        raise BadRequest(f"state is one of {', '.join(_LETTER_STATES)}", param="state")
    scope = None if tenant is None else tenant.scope
    async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
        letters = await jobs.list_dead_letters(db, scope, state=state, after=after, limit=limit + 1)
    items = [asdict(letter) for letter in letters[:limit]]
    return json_reply(Page(items, letters[limit - 1].id if len(letters) > limit else None))


async def get_letter(call: Call) -> Reply:
    return json_reply(asdict(await _letter(call)))


async def replay_letter(call: Call) -> Reply:
    letter = await _letter(call)
    raw = await call.body()
    body = DeadLetterReplay()
    if raw:
        call.require_json()
        body = decode(_replay, raw)
    job_id = await submit.replay_dead_letter(
        call.app, Scope(tenant_id=letter.tenant_id, chatbot_id=letter.chatbot_id), letter.id, payload=body.payload
    )
    return json_reply(DeadLetterReplayed(letter.id, job_id), status=202)


async def discard_letter(call: Call) -> Reply:
    letter = await _letter(call)
    await submit.discard_dead_letter(call.app, Scope(tenant_id=letter.tenant_id), letter.id)
    return Reply(204)


async def _letter(call: Call) -> DeadLetter:
    """The dead letter in the path, if the caller may see it. Raises NotFound."""
    tenant = staff_of(call)
    scope = None if tenant is None else tenant.scope
    letter_id = call.params["dead_letter_id"]
    letter = None
    if is_id(letter_id):
        async with call.app.db.operator() if scope is None else call.app.db.transaction(scope) as db:
            letter = await jobs.get_dead_letter(db, scope, DeadLetterId(letter_id))
    if letter is None:
        raise NotFound("no such dead letter")
    return letter


_LETTER = "/api/v1/dead-letters/{dead_letter_id}"
ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/jobs", handle=create, access=Access.TENANT, summary="Run one job by itself",
        tag="jobs", status=202, request=JobCreate, response=JobAccepted, creates=True,
    ),
    Endpoint(
        method="GET", path="/api/v1/jobs/{job_id}", handle=get, access=Access.TENANT,
        summary="A job's state and result", tag="jobs", response=jobs.JobView,
    ),
    Endpoint(
        method="GET", path="/api/v1/dead-letters", handle=list_letters, access=Access.STAFF,
        summary="List dead letters", tag="dead-letters", response=Page,
        query=(("state", "open (default), replayed, discarded, all"), ("cursor", "next_cursor of the page before"),
               ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="GET", path=_LETTER, handle=get_letter, access=Access.STAFF, summary="Read a dead letter",
        tag="dead-letters", response=DeadLetter,
    ),
    Endpoint(
        method="POST", path=_LETTER + "/replay", handle=replay_letter, access=Access.STAFF,
        summary="Run it again, with another payload if one is given; twice is once", tag="dead-letters", status=202,
        request=DeadLetterReplay, response=DeadLetterReplayed,
    ),
    Endpoint(
        method="POST", path=_LETTER + "/discard", handle=discard_letter, access=Access.STAFF,
        summary="Put it aside for good", tag="dead-letters", status=204,
    ),
)  # fmt: skip
