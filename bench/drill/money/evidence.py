"""What the judge of the money drill sees: the simulators' bills, rows and counters read as superuser. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from bench.drill.evidence import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per million tokens, as `models.toml` of the drill says them; a rate that is None is the input's."""

    input_usd: str
    output_usd: str
    cached_usd: str | None = None
    cache_write_usd: str | None = None

    def nano(self, *, fresh: int, cached: int, written: int, output: int) -> int:
        """The price of so many tokens in whole nanodollars, rounded up. Reckoned apart from the product's own way."""
        total = Fraction(0)
        for tokens, rate in (
            (fresh, self.input_usd),
            (cached, self.cached_usd or self.input_usd),
            (written, self.cache_write_usd or self.input_usd),
            (output, self.output_usd),
        ):
            total += tokens * Fraction(rate) * 1000
        return -(-total.numerator // total.denominator)


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledCall:
    """A call that reached a simulator, and what it charges for it."""

    simulator: str
    n: int
    call_id: str | None
    head: str
    ended: str
    bill_nano: int
    verb: str = ""
    """How it was told to end."""
    shape: str = ""
    """What is known of its model: `plain` ones do not think unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    id: str
    provider: str
    state: str
    error_class: str | None
    estimated: bool
    reserved_nano: int | None
    cost_nano: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterState:
    """A budget's counter as one transaction left it, or as it stood when it was looked at."""

    budget_id: str
    spent_nano: int
    reserved_nano: int
    limit_nano: int
    refused: bool = False
    """The transaction held a call back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapEvidence:
    """One budget for `fits` calls of `need_nano` each, asked by many at once. Each call cost `each_nano`."""

    need_nano: int
    each_nano: int
    fits: int
    asked: int
    answered: int
    refused: int
    others: Sequence[str]
    """Ends that are neither an answer nor a budget's refusal."""
    provider_calls: int
    rows: Sequence[LedgerRow]
    committed: Sequence[CounterState]
    sampled: Sequence[CounterState]
    at_rest: Sequence[CounterState]
    exactly: bool
    """Each call uses its whole reservation, and all came at once; else all that fits must have been let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksEvidence:
    """Many calls with mixed endings, at rest."""

    least_calls: int
    calls: Sequence[BilledCall]
    rows: Sequence[LedgerRow]
    committed: Sequence[CounterState]
    at_rest: Sequence[CounterState]
    rest_s: float | None
    """From the last request until nothing was reserved any more; None: it never was."""
    rest_limit_s: float
    drifts: int
    """Counters that say something else than the ledger."""
    faults_planned: int
    faults_hit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One attempt to deliver an alert as the receiver saw it."""

    webhook_id: str
    kind: str
    signed: bool
    status: int
    """What the receiver answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvidence:
    """One budget's alerts: `told` is the outbox as (id, kind)."""

    name: str
    wanted: Sequence[str]
    told: Sequence[tuple[str, str]]
    delivered: Sequence[Delivered]
    refusals_of: Mapping[str, int]
    """How many times the receiver meant to answer 500 to the first attempts of a kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstEvidence:
    """A limit of `limit` a minute met by `asked` requests in `took_s`."""

    name: str
    limit: int
    asked: int
    passed: int
    refused: int
    others: Sequence[str]
    took_s: float
    steady: bool
    """One client at the limit's own pace, else everybody at once."""


@dataclass(kw_only=True)
class Part:
    """What one scenario showed."""

    name: str
    seed: int
    violations: list[Violation]
    figures: dict[str, object] = field(default_factory=dict[str, object])
    took_s: float = 0.0
