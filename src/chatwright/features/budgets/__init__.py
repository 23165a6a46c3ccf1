"""Money: the ledger with one row per provider call, what may stand in it, and the budgets that hold calls back."""

from chatwright.features.budgets.budgets import (
    Budget,
    BudgetStatus,
    delete_budget,
    list_budgets,
    put_budget,
)
from chatwright.features.budgets.calls import ImportCost, LedgerCall, Spent, import_cost, list_calls, message_cost
from chatwright.features.budgets.ledger import CacheHit, CallEnd, CallStart, Ledger, open_ledger
from chatwright.features.budgets.pricing import sane
from chatwright.features.budgets.reconciling import Drift, reconcile, repair
from chatwright.features.budgets.reports import (
    GROUPS,
    GroupBy,
    Remaining,
    Span,
    chatbot_slugs,
    columns_of,
    ledger_span,
    list_remaining,
    usage_rows,
)
from chatwright.features.budgets.rules import Action, PeriodKind, ScopeKind, SetBy, period_at
from chatwright.features.budgets.store import abandon_open_calls
from chatwright.features.budgets.turning import begin_due

__all__ = [
    "GROUPS",
    "Action",
    "Budget",
    "BudgetStatus",
    "CacheHit",
    "CallEnd",
    "CallStart",
    "Drift",
    "GroupBy",
    "ImportCost",
    "Ledger",
    "LedgerCall",
    "PeriodKind",
    "Remaining",
    "ScopeKind",
    "SetBy",
    "Span",
    "Spent",
    "abandon_open_calls",
    "begin_due",
    "chatbot_slugs",
    "columns_of",
    "delete_budget",
    "import_cost",
    "ledger_span",
    "list_budgets",
    "list_calls",
    "list_remaining",
    "message_cost",
    "open_ledger",
    "period_at",
    "put_budget",
    "reconcile",
    "repair",
    "sane",
    "usage_rows",
]
