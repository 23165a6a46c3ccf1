"""The money drill: budgets, ledger, alerts and rate limits of several processes against a simulated provider's own bill."""
