"""Reads the visitor: sentiment, emotion and intent, by local heads (`Reader`) or by word rules alone (`read`).

Custom intents stand in `custom.py`, a language model's reading in `by_model.py`.
"""

from chatwright.features.analysis.reader import Reader
from chatwright.features.analysis.rules import read

__all__ = ["Reader", "read"]
