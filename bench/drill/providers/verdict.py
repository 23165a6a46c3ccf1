"""The judge of the provider drill: pure, from evidence to violations. Tested with bad evidence."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from bench.drill.evidence import Violation
from bench.drill.providers.evidence import (
    PRIMARY,
    PROVIDERS,
    SECONDARY,
    Evidence,
    Phase,
    PhaseSummary,
    ProviderCall,
    Question,
)

_EXAMPLES = 4
_MARGIN_S = 1.0
_Fault = Callable[[str, str], None]  # (rule, where)


def judge(evidence: Evidence) -> list[Violation]:
    """Look for everything that must not be; the order is from worst to least."""
    found: dict[str, list[str]] = {}

    def fault(rule: str, where: str) -> None:
        found.setdefault(rule, []).append(where)

    by_key = calls_by_key(evidence.calls)
    for phase in evidence.phases:
        if len(phase.questions) < evidence.least:
            fault("too few questions were asked", f"{phase.name}: {len(phase.questions)}")
        for question in phase.questions:
            _check_text(question, fault)
            _check_end(question, by_key.get(question.key, ()), evidence, fault)
        _check_shares(phase, by_key, evidence, fault)
    _check_books(evidence, fault)
    _check_stored(evidence, fault)
    return [Violation(rule=rule, count=len(where), examples=where[:_EXAMPLES]) for rule, where in found.items()]


def calls_by_key(calls: Sequence[ProviderCall]) -> dict[str, list[ProviderCall]]:
    """The calls of each question, which begins with its key and a colon."""
    found: dict[str, list[ProviderCall]] = {}
    for call in calls:
        key, colon, _ = call.head.partition(":")
        if colon:
            found.setdefault(key, []).append(call)
    return found


def summarise(phase: Phase, by_key: Mapping[str, Sequence[ProviderCall]]) -> PhaseSummary:
    """The phase in numbers."""
    calls = [call for question in phase.questions for call in by_key.get(question.key, ())]
    to_primary = [call for call in calls if call.simulator == PRIMARY]
    ends = Counter(question.ended for question in phase.questions)
    return PhaseSummary(
        name=phase.name,
        questions=len(phase.questions),
        faulty=sum(question.faulty for question in phase.questions),
        complete=ends["complete"],
        by_secondary=sum(question.shown == question.whole(SECONDARY) for question in phase.questions),
        partial=ends["partial"],
        errors=len(phase.questions) - ends["complete"] - ends["partial"],
        calls=len(calls),
        to_primary=len(to_primary),
        slowest_s=max((question.took_s for question in phase.questions), default=0.0),
        ended=dict(Counter(call.ended or "open" for call in to_primary)),
    )


def _check_text(question: Question, fault: _Fault) -> None:
    """What was shown is one provider's words, whole or broken off, and nothing else."""
    shown = question.shown
    wholes = [question.whole(simulator) for simulator in PROVIDERS]
    if question.ended == "complete" and shown not in wholes:
        fault("a complete answer is not what one provider said", f"{question.key}: {shown[:80]!r}")
    elif not any(whole.startswith(shown) for whole in wholes):
        fault("a text is spliced or doubled", f"{question.key}: {shown[:80]!r}")


def _check_end(question: Question, calls: Sequence[ProviderCall], evidence: Evidence, fault: _Fault) -> None:
    if question.ended in ("", "broken"):
        fault("an answer ended without a word", f"{question.key} ({question.way}): {question.said[:120]}")
    if question.ended == "partial" and not question.shown:
        fault("a partial answer has no text", question.key)
    if question.ended == "error" and question.shown:
        fault("text was shown, but the end does not say that it is partial", f"{question.key}: {question.said[:120]}")
    if question.took_s > evidence.deadline_s + _MARGIN_S:
        fault("a wait went past the deadline", f"{question.key} ({question.way}): {question.took_s:.1f} s")
    if len(calls) > evidence.calls_limit:
        fault(f"more than {evidence.calls_limit} provider calls for one answer", f"{question.key}: {len(calls)}")
    if question.ended == "complete" and not any(call.ended == "complete" for call in calls):
        fault("an answer is complete that no provider completed", question.key)


def _check_shares(
    phase: Phase, by_key: Mapping[str, Sequence[ProviderCall]], evidence: Evidence, fault: _Fault
) -> None:
    total = len(phase.questions)
    if not total:
        return
    summary = summarise(phase, by_key)
    if summary.calls > evidence.calls_share * total:
        fault(
            f"more than {evidence.calls_share:g} provider calls an answer", f"{phase.name}: {summary.calls} for {total}"
        )
    # A fault that came after visible text can only end as a partial answer; everything else must be whole.
    excused = {
        question.key
        for question in phase.questions
        if phase.where == "after" and any(_broke_off(call) for call in by_key.get(question.key, ()))
    }
    wanted = [question for question in phase.questions if question.key not in excused]
    whole = sum(question.ended == "complete" for question in wanted)
    if whole < evidence.complete_share * len(wanted):
        lost = [
            f"{question.key} ({question.ended}: {question.said[:60]})"
            for question in wanted
            if question.ended != "complete"
        ]
        fault(
            f"fewer than {evidence.complete_share:.1%} complete answers",
            f"{phase.name}: {whole} of {len(wanted)}; {lost[:3]}",
        )
    for question in phase.questions:
        if question.key in excused and question.ended != "partial":
            fault(
                "a fault after visible text did not end as a partial answer",
                f"{question.key}: {question.ended} {question.said[:60]}",
            )


def _broke_off(call: ProviderCall) -> bool:
    return call.simulator == PRIMARY and bool(call.text) and call.ended != "complete"


def _check_books(evidence: Evidence, fault: _Fault) -> None:
    rows = {row.id: row for row in evidence.rows}
    seen: Counter[str] = Counter()
    for call in evidence.calls:
        row = rows.get(call.call_id or "")
        if row is None:
            fault("a provider call has no row in the ledger", f"{call.simulator} {call.n}, id {call.call_id}")
            continue
        seen[row.id] += 1
        if row.provider != PROVIDERS[call.simulator]:
            fault("a ledger row names another provider", f"{row.id}: {row.provider}")
    for call_id, count in seen.items():
        if count > 1:
            fault("two provider calls share one ledger row", f"{call_id}: {count}")
    for row in evidence.rows:
        if row.state == "ok" and not seen[row.id]:
            fault("a ledger row says ok for a call that never was", row.id)
        if row.state == "open":
            fault("a ledger row is still open", row.id)


def _check_stored(evidence: Evidence, fault: _Fault) -> None:
    """The transcript says what the visitor saw."""
    stored = {message.text: message for message in evidence.messages}
    for phase in evidence.phases:
        for question in phase.questions:
            if question.way != "queued" or not question.ended:
                continue
            message = stored.get(question.text)
            if message is None:
                fault("a message is lost", question.key)
            elif question.ended == "complete":
                if (message.state, message.answer, message.partial) != ("answered", question.shown, False):
                    fault(
                        "another answer is stored than was shown",
                        f"{question.key}: {message.state} {(message.answer or '')[:60]!r}",
                    )
            elif question.ended == "partial" and (message.answer, message.partial) != (question.shown, True):
                fault(
                    "a partial answer is not stored as one",
                    f"{question.key}: {message.state} {(message.answer or '')[:60]!r}",
                )
