"""The judge of the money drill: pure, from evidence to violations. Tested with bad evidence."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from bench.drill.evidence import Violation
from bench.drill.money.evidence import AlertEvidence, BooksEvidence, BurstEvidence, CapEvidence, CounterState

_EXAMPLES = 4
_KINDS = 12
_MOST_REFUSALS = 0.01
_Fault = Callable[[str, str], None]  # (rule, where)


class _Findings:
    """What is wrong, by rule. Places that name a kind are counted by it, with the first one of each as its example."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._kinds: dict[str, Counter[str]] = {}
        self._firsts: dict[tuple[str, str], str] = {}

    def __call__(self, rule: str, where: str, *, kind: str = "") -> None:
        self._found.setdefault(rule, []).append(where)
        if kind:
            self._kinds.setdefault(rule, Counter())[kind] += 1
            self._firsts.setdefault((rule, kind), where)

    def violations(self) -> list[Violation]:
        return [
            Violation(rule=rule, count=len(where), examples=self._examples(rule, where))
            for rule, where in self._found.items()
        ]

    def _examples(self, rule: str, where: list[str]) -> list[str]:
        kinds = self._kinds.get(rule)
        if kinds is None:
            return where[:_EXAMPLES]
        return [f"{count} x {kind}, such as {self._firsts[rule, kind]}" for kind, count in kinds.most_common(_KINDS)]


def judge_cap(evidence: CapEvidence) -> list[Violation]:
    """A budget neither overspends nor holds back what fits."""
    fault = _Findings()
    limit_nano = evidence.fits * evidence.need_nano
    _check_caps(evidence.committed, "committed", fault)
    _check_caps(evidence.sampled, "sampled", fault)
    if not evidence.committed or not evidence.sampled:
        fault("nobody watched the counters", f"{len(evidence.committed)} commits, {len(evidence.sampled)} samples")
    for state in evidence.committed:
        if state.refused and state.spent_nano + state.reserved_nano + evidence.need_nano <= state.limit_nano:
            fault("a call was refused that fitted", _said(state))
    made = [row for row in evidence.rows if row.state != "failed" or row.cost_nano]
    if evidence.exactly and evidence.provider_calls != evidence.fits:
        fault(f"not exactly {evidence.fits} provider calls", str(evidence.provider_calls))
    if evidence.provider_calls != len(made):
        fault("calls and rows differ", f"{evidence.provider_calls} calls, {len(made)} rows")
    for row in made:
        if (row.state, row.estimated, row.cost_nano) != ("ok", False, evidence.each_nano):
            fault("a row is not what its call was", f"{row.id}: {row.state} {row.cost_nano}, estimated {row.estimated}")
    if evidence.answered != evidence.provider_calls:
        fault("answers and calls differ", f"{evidence.answered} answers, {evidence.provider_calls} calls")
    if evidence.others or (evidence.exactly and evidence.answered + evidence.refused != evidence.asked):
        fault("an end that is neither an answer nor a refusal", "; ".join(evidence.others[:_EXAMPLES]))
    if not evidence.at_rest:
        fault("there is no counter", "at rest")
    spent_nano = sum(row.cost_nano or 0 for row in evidence.rows)
    for state in evidence.at_rest:
        if state.reserved_nano:
            fault("something is reserved at rest", _said(state))
        if state.spent_nano != spent_nano:
            fault("a counter is not the sum of its calls", f"{_said(state)}; the ledger has {spent_nano:,}")
        if state.spent_nano + evidence.need_nano <= limit_nano:
            fault("there was room left that nobody was given", _said(state))
    return fault.violations()


def judge_books(evidence: BooksEvidence) -> list[Violation]:
    """The ledger is the providers' bill, whatever happened to calls and processes."""
    fault = _Findings()
    if len(evidence.calls) < evidence.least_calls:
        fault("too few calls were made", f"{len(evidence.calls)} of {evidence.least_calls}")
    if evidence.faults_hit < evidence.faults_planned:
        fault("a fault found no process", f"{evidence.faults_hit} of {evidence.faults_planned}")
    rows = {row.id: row for row in evidence.rows}
    seen: Counter[str] = Counter()
    for call in evidence.calls:
        where = f"{call.simulator} {call.n} [{call.verb or 'ok'}] {call.ended}"
        row = rows.get(call.call_id or "")
        if row is None:
            fault("a provider call has no row in the ledger", f"{where}, id {call.call_id}")
            continue
        seen[row.id] += 1
        kind = " ".join(
            (row.state, row.error_class or "", call.simulator, call.shape, call.verb.partition(":")[0], call.ended)
        )
        says = f"{where}: {row.cost_nano}, bill {call.bill_nano}"
        if row.cost_nano is None:
            fault("a row has no cost", says, kind=kind)
        elif not call.ended:
            fault("a call never ended", says, kind=kind)
        elif row.estimated and row.cost_nano < call.bill_nano:
            fault("an estimated row is below the bill", says, kind=kind)
        elif not row.estimated and row.cost_nano != call.bill_nano:
            fault("a measured row is not the bill", says, kind=kind)
    for row in evidence.rows:
        if seen[row.id] > 1:
            fault("two provider calls share one row", f"{row.id}: {seen[row.id]}")
        if row.state == "open":
            fault("a row is still open", row.id)
        # After a kill nobody knows whether the call was made: it is booked at its reservation, and flagged.
        unknowable = row.estimated and row.state in ("abandoned", "cancelled")
        if not seen[row.id] and row.cost_nano and not unknowable:
            fault(
                "a call that was never made costs something", f"{row.id}: {row.state} {row.error_class} {row.cost_nano}"
            )
    _check_caps(evidence.committed, "committed", fault)
    for state in evidence.at_rest:
        if state.reserved_nano:
            fault("something is reserved at rest", _said(state))
    if evidence.rest_s is None or evidence.rest_s > evidence.rest_limit_s:
        took = "never" if evidence.rest_s is None else f"{evidence.rest_s:.1f} s"
        fault(f"reservations were not all back within {evidence.rest_limit_s:.0f} s", took)
    if evidence.drifts:
        fault("counters and ledger differ", str(evidence.drifts))
    return fault.violations()


def judge_alerts(evidence: AlertEvidence) -> list[Violation]:
    """Each level once in the outbox, and heard under one id."""
    fault = _Findings()
    told = Counter(kind for _, kind in evidence.told)
    for kind in sorted({*evidence.wanted, *told}):
        wanted = int(kind in evidence.wanted)
        if told[kind] != wanted:
            fault("a level was not told exactly once", f"{evidence.name}: {kind} {told[kind]} times, wanted {wanted}")
    ids = dict(evidence.told)
    for one in evidence.delivered:
        if not one.signed:
            fault("a delivery is not signed as Standard Webhooks has it", f"{evidence.name}: {one.webhook_id}")
        if ids.get(one.webhook_id) != one.kind:
            fault("a delivery is of no alert", f"{evidence.name}: {one.webhook_id} {one.kind}")
    for alert_id, kind in evidence.told:
        tries = [one.status for one in evidence.delivered if one.webhook_id == alert_id]
        if 200 not in tries:
            fault("an alert was never heard", f"{evidence.name}: {kind} {tries}")
        elif tries.count(500) != evidence.refusals_of.get(kind, 0):
            fault("the receiver did not refuse as it meant to", f"{evidence.name}: {kind} {tries}")
    return fault.violations()


def judge_burst(evidence: BurstEvidence) -> list[Violation]:
    """A limit lets at least N and at most N + N·t/60 pass; who keeps to it is hardly ever refused."""
    fault = _Findings()
    name, passed = evidence.name, evidence.passed
    if evidence.others or passed + evidence.refused != evidence.asked:
        fault("an end that is neither an answer nor a refusal", f"{name}: {'; '.join(evidence.others[:_EXAMPLES])}")
    if evidence.steady:
        if evidence.refused >= _MOST_REFUSALS * evidence.asked:
            fault("a steady client at the limit was refused", f"{name}: {evidence.refused} of {evidence.asked}")
        return fault.violations()
    most = evidence.limit + math.ceil(evidence.limit * evidence.took_s / 60)
    if passed < min(evidence.limit, evidence.asked):
        fault("fewer passed than the limit", f"{name}: {passed} of {evidence.limit}")
    if passed > most:
        fault("more passed than the limit", f"{name}: {passed}, at most {most} in {evidence.took_s:.2f} s")
    return fault.violations()


def _check_caps(states: Sequence[CounterState], how: str, fault: _Fault) -> None:
    for state in states:
        if state.spent_nano + state.reserved_nano > state.limit_nano:
            fault(f"settled + reserved passed the limit ({how})", _said(state))


def _said(state: CounterState) -> str:
    return f"{state.spent_nano:,} + {state.reserved_nano:,} of {state.limit_nano:,}"
