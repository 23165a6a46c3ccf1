"""The judge: pure, from evidence to violations. An empty list means that every rule held. Tested with bad evidence."""

from collections import Counter
from collections.abc import Callable

from bench.drill.evidence import TERMINAL, Evidence, MessageRow, Sent, Violation

_EXAMPLES = 4
_Fault = Callable[[str, str], None]  # (rule, where)


def judge(evidence: Evidence) -> list[Violation]:
    """Look for everything that must not be; the order is from worst to least."""
    found: dict[str, list[str]] = {}

    def fault(rule: str, where: str) -> None:
        found.setdefault(rule, []).append(where)

    _check_run(evidence, fault)
    rows = {row.id: row for row in evidence.messages}
    by_text: dict[tuple[str, str], list[MessageRow]] = {}
    for row in evidence.messages:
        by_text.setdefault((row.tenant_id, row.text), []).append(row)
    _check_messages(evidence, rows, by_text, fault)
    _check_answers(evidence, rows, fault)
    _check_calls(evidence, rows, fault)
    _check_streams(evidence, by_text, fault)
    return [Violation(rule=rule, count=len(where), examples=where[:_EXAMPLES]) for rule, where in found.items()]


def _check_run(evidence: Evidence, fault: _Fault) -> None:
    """The run must have been one: enough messages, real faults, an end."""
    if len(evidence.sent) < evidence.wanted:
        fault("too few messages were sent", f"{len(evidence.sent)} of {evidence.wanted}")
    if evidence.faults_hit < evidence.faults_planned:
        fault("a fault found no process", f"{evidence.faults_hit} of {evidence.faults_planned} hit")
    if evidence.settle_s is None or evidence.settle_s > evidence.settle_limit_s:
        took = "never" if evidence.settle_s is None else f"{evidence.settle_s:.1f} s"
        fault(f"not all terminal within {evidence.settle_limit_s:.0f} s of the last fault", took)
    if evidence.open_jobs:
        fault("jobs are open at the end", f"{evidence.open_jobs}")
    for queue, left in evidence.queue_left.items():
        if left:
            fault("the queue is not empty at the end", f"{queue}: {left}")


def _check_messages(
    evidence: Evidence, rows: dict[str, MessageRow], by_text: dict[tuple[str, str], list[MessageRow]], fault: _Fault
) -> None:
    known: set[tuple[str, str]] = set()
    for sent in evidence.sent:
        known.add((sent.tenant_id, sent.text))
        for message_id in sent.acknowledged:
            row = rows.get(message_id)
            if row is None:
                fault("an acknowledged message is lost", f"{sent.key} as {message_id}")
            elif row.text != sent.text:
                fault("an acknowledged message holds another text", f"{sent.key} as {message_id}")
            elif row.tenant_id != sent.tenant_id:
                fault("a message went to another tenant", f"{sent.key} as {message_id}")
        if len(sent.acknowledged) > 1:
            fault("one message was acknowledged under two ids", f"{sent.key}: {sorted(sent.acknowledged)}")
        if len(by_text.get((sent.tenant_id, sent.text), ())) > 1:
            fault("one message is stored twice", sent.key)
        if not sent.acknowledged:
            fault("a message was never acknowledged", f"{sent.key} after {sent.tries} tries {sent.refused}")
    for row in evidence.messages:
        if (row.tenant_id, row.text) not in known:
            fault("a stored message was never sent", f"{row.id}: {row.text[:40]!r}")
        if row.state not in TERMINAL or not row.finished:
            fault("a message is not terminal", f"{row.id}: {row.state}")


def _check_answers(evidence: Evidence, rows: dict[str, MessageRow], fault: _Fault) -> None:
    echoes = {(sent.tenant_id, sent.text): sent.echo for sent in evidence.sent}
    counts = Counter(answer.message_id for answer in evidence.answers)
    for message_id, count in counts.items():
        if count > 1:
            fault("a message has two answers", f"{message_id}: {count}")
    for row in evidence.messages:
        if row.state == "answered" and counts[row.id] != 1:
            fault("an answered message has no answer", row.id)
    for answer in evidence.answers:
        row = rows.get(answer.message_id)
        if row is None:
            fault("an answer belongs to no message", answer.id)
            continue
        echo = echoes.get((row.tenant_id, row.text))
        if echo is None:
            continue  # told above: the message was never sent
        if row.state == "answered" and answer.partial:
            fault("an answered message has a partial answer", row.id)
        if not (echo.startswith(answer.text) if answer.partial else answer.text == echo):
            fault(
                "an answer is another message's or broken", f"{row.id}: {answer.text[:60]!r} instead of {echo[:60]!r}"
            )


def _check_calls(evidence: Evidence, rows: dict[str, MessageRow], fault: _Fault) -> None:
    ledger = {call.id: call for call in evidence.calls}
    seen: Counter[str] = Counter()
    per_message: Counter[str] = Counter()
    for call in evidence.simulated:
        row = ledger.get(call.call_id or "")
        if call.call_id is None or row is None:
            fault("a provider call has no row in the ledger", f"call {call.n}, id {call.call_id}")
            continue
        seen[row.id] += 1
        if row.message_id is None or row.message_id not in rows:
            fault("a ledger row belongs to no message", row.id)
        else:
            per_message[row.message_id] += 1
            if not rows[row.message_id].text.startswith(call.head):
                fault("a provider call carried another message's text", f"call {call.n}: {call.head[:40]!r}")
    for call_id, count in seen.items():
        if count > 1:
            fault("two provider calls share one ledger row", f"{call_id}: {count}")
    for row in evidence.calls:
        if row.state == "ok" and not seen[row.id]:
            fault("a ledger row says ok for a call that never was", row.id)
    for message_id, count in per_message.items():
        if count > evidence.calls_limit:
            fault(f"more than {evidence.calls_limit} provider calls for one message", f"{message_id}: {count}")


def _check_streams(evidence: Evidence, by_text: dict[tuple[str, str], list[MessageRow]], fault: _Fault) -> None:
    if evidence.doubled_events:
        fault("a stream event came twice", f"{evidence.doubled_events}")
    texts = {answer.message_id: answer.text for answer in evidence.answers}
    for sent in evidence.sent:
        stored = by_text.get((sent.tenant_id, sent.text), [])
        if not stored:
            continue
        row = stored[0]
        if not sent.ended:
            fault("a client never saw the end of its answer", _where(sent, row))
        elif sent.ended != row.state:
            fault("a client was told another end than is stored", f"{_where(sent, row)}: {sent.ended}")
        elif row.state == "answered":
            stored_text = texts.get(row.id)
            if sent.told is not None and sent.told != stored_text:
                fault("a client was told another text than is stored", _where(sent, row))
            # Pieces may be missing at the end while Valkey is away: then the last event mends it with the whole text.
            if sent.told is None and sent.streamed != stored_text:
                fault("a client was left with a part of the stored answer", _where(sent, row))
            elif sent.streamed is not None and stored_text is not None and not stored_text.startswith(sent.streamed):
                fault(
                    "a client was shown text that is not the stored answer's", f"{sent.streamed!r} {_where(sent, row)}"
                )


def _where(sent: Sent, row: MessageRow) -> str:
    return f"{sent.key} ({row.id}, {row.state}; events {', '.join(sent.trace)})"


def count_mended(evidence: Evidence) -> int:
    """Answers whose last pieces no client saw as pieces, only in the last event: what a Valkey that is away costs."""
    return sum(
        1
        for sent in evidence.sent
        if sent.told is not None and sent.streamed is not None and len(sent.streamed) < len(sent.told)
    )
