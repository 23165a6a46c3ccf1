"""Reads the visitor: sentiment and intent, by rules for now (`confidence` and `score` are None: nothing measured them)."""

from chatwright.features.analysis.rules import injection_signals, read

__all__ = ["injection_signals", "read"]
