"""Budgets of a tenant: set, listed with what is spent of them, removed, and proved against the ledger."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chatwright.domain.errors import BadRequest, Forbidden, Unprocessable
from chatwright.domain.money import format_usd, parse_usd
from chatwright.entrypoints.auth import TenantAdmin, admin_of, staff_of, tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire import Request
from chatwright.features.budgets import Drift, SetBy
from chatwright.pipeline import budgeting
from chatwright.pipeline.budgeting import NamedStatus

_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


class BudgetPut(Request, frozen=True):
    """`scope_id`: a chatbot's slug or id, a visitor's or an import's id; not needed for the tenant. `limit_usd` is a
    decimal string with at most nine decimals. `set_by`: whose budget it is, that of the operator who acts for the tenant
    or the tenant's own; by default the caller's."""

    scope: Literal["tenant", "chatbot", "visitor", "import"]
    period: Literal["day", "month", "total"]
    limit_usd: Annotated[str, Meta(max_length=20)]
    scope_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    action: Literal["block", "downgrade", "extractive", "alert"] = "block"
    set_by: Literal["operator", "tenant"] | None = None


class BudgetReply(msgspec.Struct, frozen=True):
    """A budget and its running period. `percent` is of what is spent; `forecast_nano` is what the period's end will
    see at this pace, null where that cannot be told; `refused` counts the calls held back in this period. What an operator set
    (`set_by`) only operators change."""

    id: str
    tenant_id: str
    scope: str
    scope_id: str
    scope_name: str | None
    period: str
    action: str
    set_by: str
    limit_usd: str
    limit_nano: int
    spent_nano: int
    reserved_nano: int
    percent: float
    forecast_nano: int | None
    refused: int
    starts_at: str
    ends_at: str | None
    created_at: str
    updated_at: str


class BudgetPage(msgspec.Struct, frozen=True):
    items: list[BudgetReply]
    next_cursor: str | None


class BudgetRemoved(msgspec.Struct, frozen=True):
    id: str
    state: Literal["removed"] = "removed"


class ReconcileRequest(Request, frozen=True):
    """`repair` sets counters that are off to what the ledger says."""

    repair: bool = False


class DriftReply(msgspec.Struct, frozen=True):
    """A period whose counter said something else than the ledger."""

    tenant_id: str
    budget_id: str
    scope: str
    scope_id: str
    period: str
    starts_at: str
    ends_at: str | None
    counter_spent_nano: int
    counter_reserved_nano: int
    ledger_spent_nano: int
    ledger_reserved_nano: int


class ReconcileReply(msgspec.Struct, frozen=True):
    """No drifts: the ledger and the counters agree."""

    drifts: list[DriftReply]
    repaired: bool


_put = msgspec.json.Decoder(BudgetPut)
_reconcile = msgspec.json.Decoder(ReconcileRequest)


async def put(call: Call) -> Reply:
    tenant = tenant_of(call)
    body = await call.json(_put)
    if not _AMOUNT.fullmatch(body.limit_usd):
        raise Unprocessable(
            'limit_usd is an amount in USD as a decimal string, such as "12.50", with at most nine decimals',
            param="limit_usd",
        )
    if body.set_by == "operator" and not tenant.operator:
        raise Forbidden("only an operator can set an operator's budget; set one of your own beside it", param="set_by")
    made = await budgeting.set_budget(
        call.app,
        tenant.scope,
        actor=tenant.actor,
        scope_kind=body.scope,
        scope_id=body.scope_id,
        period=body.period,
        limit_nano=parse_usd(body.limit_usd),
        action=body.action,
        set_by=body.set_by or _caller(tenant),
    )
    return json_reply(_reply(made))


async def list_all(call: Call) -> Reply:
    """Pages of a list that is read whole: a tenant has at most a thousand budgets."""
    after, limit = call.page()
    found = await budgeting.list_budgets(call.app, tenant_of(call).scope)
    place = 0
    if after is not None:
        ids = [one.status.budget.id for one in found]
        if after not in ids:
            raise BadRequest("the budget of this cursor is gone; begin anew", param="cursor")
        place = ids.index(after) + 1
    items = [_reply(one) for one in found[place : place + limit]]
    return json_reply(BudgetPage(items, items[-1].id if len(found) > place + limit else None))


async def remove(call: Call) -> Reply:
    tenant = tenant_of(call)
    budget_id = call.params["budget_id"]
    await budgeting.remove_budget(call.app, tenant.scope, budget_id, actor=tenant.actor, by=_caller(tenant))
    return json_reply(BudgetRemoved(budget_id))


async def reconcile(call: Call) -> Reply:
    tenant = staff_of(call)
    scope, actor = (None, admin_of(call).actor) if tenant is None else (tenant.scope, tenant.actor)
    body = await call.json(_reconcile)
    drifts = await budgeting.reconcile(call.app, scope, repair=body.repair, actor=actor)
    return json_reply(ReconcileReply([_drift(tenant_id, drift) for tenant_id, drift in drifts], body.repair))


def _caller(tenant: TenantAdmin) -> SetBy:
    return "operator" if tenant.operator else "tenant"


def _reply(one: NamedStatus) -> BudgetReply:
    status, budget = one.status, one.status.budget
    return BudgetReply(
        id=budget.id,
        tenant_id=budget.tenant_id,
        scope=budget.scope_kind,
        scope_id=budget.scope_id,
        scope_name=one.scope_name,
        period=budget.period,
        action=budget.action,
        set_by=budget.set_by,
        limit_usd=format_usd(budget.limit_nano),
        limit_nano=budget.limit_nano,
        spent_nano=status.spent_nano,
        reserved_nano=status.reserved_nano,
        percent=percent(status.spent_nano, budget.limit_nano),
        forecast_nano=status.forecast_nano,
        refused=status.refused,
        starts_at=status.starts_at,
        ends_at=status.ends_at,
        created_at=budget.created_at,
        updated_at=budget.updated_at,
    )


def percent(spent_nano: int, limit_nano: int) -> float:
    """How much of a limit is spent, in tenths of a percent, rounded down: 100 means that it is used up."""
    return 100.0 if limit_nano <= 0 else spent_nano * 1000 // limit_nano / 10


def _drift(tenant_id: str, drift: Drift) -> DriftReply:
    return DriftReply(
        tenant_id=tenant_id,
        budget_id=drift.budget_id,
        scope=drift.scope_kind,
        scope_id=drift.scope_id,
        period=drift.period,
        starts_at=drift.starts_at,
        ends_at=drift.ends_at,
        counter_spent_nano=drift.spent_nano,
        counter_reserved_nano=drift.reserved_nano,
        ledger_spent_nano=drift.ledger_spent_nano,
        ledger_reserved_nano=drift.ledger_reserved_nano,
    )


_PATH = "/api/v1/budgets"
_TAG = "budgets"
ENDPOINTS = (
    Endpoint(
        method="PUT", path=_PATH, handle=put, access=Access.TENANT, tag=_TAG, request=BudgetPut, response=BudgetReply,
        summary="Set how much may be spent in a day, a month or in all; the same owner and period again changes it",
    ),
    Endpoint(
        method="GET", path=_PATH, handle=list_all, access=Access.TENANT, tag=_TAG, response=BudgetPage,
        summary="List budgets with what is spent and reserved of them",
        query=(("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50")),
    ),
    Endpoint(
        method="DELETE", path=f"{_PATH}/{{budget_id}}", handle=remove, access=Access.TENANT, tag=_TAG,
        summary="Remove a budget; what was spent stays in the ledger", response=BudgetRemoved,
    ),
    Endpoint(
        method="POST", path=f"{_PATH}/reconcile", handle=reconcile, access=Access.STAFF, tag=_TAG,
        summary="Compare the counters with the ledger, and set them right if asked to", request=ReconcileRequest,
        response=ReconcileReply,
    ),
)  # fmt: skip
