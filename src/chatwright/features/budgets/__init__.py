"""Money: the ledger with one row per provider call, and what may stand in it."""

from chatwright.features.budgets.calls import LedgerCall, Spent, list_calls, message_cost
from chatwright.features.budgets.ledger import CallEnd, CallStart, Ledger, open_ledger
from chatwright.features.budgets.pricing import sane
from chatwright.features.budgets.store import abandon_open_calls, count_calls, usage_report

__all__ = [
    "CallEnd",
    "CallStart",
    "Ledger",
    "LedgerCall",
    "Spent",
    "abandon_open_calls",
    "count_calls",
    "list_calls",
    "message_cost",
    "open_ledger",
    "sane",
    "usage_report",
]
