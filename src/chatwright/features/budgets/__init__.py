"""Money: what a call costs, and the ledger with one row per provider call."""

from chatwright.features.budgets.ledger import CallEnd, CallStart, Ledger, open_ledger
from chatwright.features.budgets.pricing import price, sane
from chatwright.features.budgets.store import abandon_open_calls, count_calls, usage_report

__all__ = [
    "CallEnd",
    "CallStart",
    "Ledger",
    "abandon_open_calls",
    "count_calls",
    "open_ledger",
    "price",
    "sane",
    "usage_report",
]
