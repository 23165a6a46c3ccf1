"""chatwright: a self-hosted, multi-tenant AI chat pipeline."""

__version__ = "0.1.0"
