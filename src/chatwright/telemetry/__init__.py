"""Logs, metrics and the clock."""
