"""Budgets as people handle them: set, listed, removed, proved against the ledger. Every change has its audit entry in the
same transaction.

Called by `entrypoints/admin_budgets.py`, and by the sweeper for the gauge. What a budget refuses is decided where calls
are opened (`features/budgets`).
"""

from dataclasses import dataclass

from chatwright.domain.errors import NotFound, Unprocessable
from chatwright.domain.ids import TenantId
from chatwright.domain.money import NANO_PER_USD
from chatwright.domain.scope import Scope
from chatwright.features import budgets, tenancy
from chatwright.features.budgets import Action, BudgetStatus, Drift, PeriodKind, ScopeKind, SetBy
from chatwright.pipeline.services import Services

_TENANTS_A_PAGE = 200
_TURNED_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class NamedStatus:
    """A budget with what its owner is called: a chatbot's slug, None where there is no name."""

    status: BudgetStatus
    scope_name: str | None


async def set_budget(
    app: Services,
    scope: Scope,
    *,
    actor: str,
    scope_kind: ScopeKind,
    scope_id: str | None,
    period: PeriodKind,
    limit_nano: int,
    action: Action,
    set_by: SetBy = "tenant",
) -> NamedStatus:
    """Set a budget, or change the one of the same owner, period and `set_by`. `scope_id`: a chatbot's slug or id, a visitor's or
    an import's id; for the tenant None or its own id. Raises NotFound, Unprocessable."""
    if scope_kind == "tenant" and scope_id not in (None, scope.tenant_id):
        raise NotFound("no such tenant", param="scope_id")
    if scope_kind != "tenant" and scope_id is None:
        raise Unprocessable(f"name the {scope_kind} in scope_id", param="scope_id")
    async with app.db.transaction(scope) as db:
        made = await budgets.put_budget(
            db,
            scope,
            scope_kind=scope_kind,
            scope_id=scope_id or scope.tenant_id,
            period=period,
            limit_nano=limit_nano,
            action=action,
            set_by=set_by,
        )
        detail = {
            "scope": made.scope_kind,
            "scope_id": made.scope_id,
            "period": made.period,
            "limit_nano": made.limit_nano,
            "action": made.action,
            "set_by": made.set_by,
        }
        await tenancy.record(db, scope.tenant_id, actor=actor, action="budget.set", target=made.id, detail=detail)
        slugs = await budgets.chatbot_slugs(db, scope)
        found = await budgets.list_budgets(db, scope)
    return next(NamedStatus(one, slugs.get(one.budget.scope_id)) for one in found if one.budget.id == made.id)


async def list_budgets(app: Services, scope: Scope) -> list[NamedStatus]:
    """All budgets of a tenant, its own first."""
    async with app.db.transaction(scope) as db:
        found = await budgets.list_budgets(db, scope)
        slugs = await budgets.chatbot_slugs(db, scope)
    return [NamedStatus(one, slugs.get(one.budget.scope_id)) for one in found]


async def remove_budget(app: Services, scope: Scope, budget_id: str, *, actor: str, by: SetBy = "operator") -> None:
    """Remove a budget. Raises NotFound, Forbidden when a tenant (`by`) would remove what an operator set."""
    async with app.db.transaction(scope) as db:
        if not await budgets.delete_budget(db, scope, budget_id, by=by):
            raise NotFound("no such budget")
        await tenancy.record(db, scope.tenant_id, actor=actor, action="budget.removed", target=budget_id)


async def reconcile(app: Services, scope: Scope | None, *, repair: bool, actor: str) -> list[tuple[TenantId, Drift]]:
    """Compare counters with the ledger, and with `repair` set them right: of one tenant, or of all for scope None.

    Looking holds up nobody; each repair is a transaction of its own, because the tenant's calls wait while it is made.
    """
    drifts: list[tuple[TenantId, Drift]] = []
    for tenant_id in [scope.tenant_id] if scope is not None else await _tenants(app):
        one = Scope(tenant_id=tenant_id)
        async with app.db.transaction(one) as db:
            found = await budgets.reconcile(db, one)
        for drift in found:
            mended = drift
            if repair:
                async with app.db.transaction(one) as db:
                    mended = await budgets.repair(db, one, drift, actor=actor)
            drifts.append((tenant_id, mended))
    return drifts


async def begin_periods(app: Services) -> int:
    """Begin the periods that have turned, so that no call has to. Returns how many; some at a time, because the sweeper
    has other work too."""
    return await budgets.begin_due(app.db, at_most=_TURNED_AT_MOST)


async def measure_budgets(app: Services) -> None:
    """Set the gauge of what is left. Several budgets of one tenant, scope and period show the one with the least left;
    so do tenants that share the label ``other``."""
    async with app.db.operator() as db:
        left = await budgets.list_remaining(db)
    least: dict[tuple[str, str, str], int] = {}
    for one in left:
        labels = (app.metrics.tenant(one.tenant_id), one.scope_kind, one.period)
        least[labels] = min(least.get(labels, one.remaining_nano), one.remaining_nano)
    gauge = app.metrics.budget_remaining_dollars
    gauge.clear()  # a budget that was removed must not stand there for ever
    for labels, remaining_nano in least.items():
        gauge.labels(*labels).set(remaining_nano / NANO_PER_USD)


async def _tenants(app: Services) -> list[TenantId]:
    found: list[TenantId] = []
    while True:
        async with app.db.operator() as db:
            page = await tenancy.list_tenants(db, after=found[-1] if found else None, limit=_TENANTS_A_PAGE)
        found += [TenantId(tenant.id) for tenant in page]
        if len(page) < _TENANTS_A_PAGE:
            return found
