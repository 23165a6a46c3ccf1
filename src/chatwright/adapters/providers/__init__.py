"""Providers of language models and embeddings: one port (`base.py`), one module per wire format, one guarded client."""
