"""PostgreSQL: connection pools, scoped transactions, migrations. SQL itself lives in each room's `store.py`."""

from chatwright.adapters.postgres.pool import Connection, Database, InsufficientResources, open_database

__all__ = ["Connection", "Database", "InsufficientResources", "open_database"]
