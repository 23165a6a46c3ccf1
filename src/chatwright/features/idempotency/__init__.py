"""Creating the same thing twice by the same key is creating it once. Called by `entrypoints/once.py`."""

from chatwright.features.idempotency.store import Claim, claim, find, finish, purge, release

__all__ = ["Claim", "claim", "find", "finish", "purge", "release"]
