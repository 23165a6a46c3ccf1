"""A conversation's memory beyond its latest messages: facts and a gist, made in steps, kept within a bound."""

from chatwright.features.memory.facts import Fact
from chatwright.features.memory.rules import (
    Exchange,
    Summary,
    digest,
    due,
    due_for_room,
    fold,
    render,
    show_metadata,
)
from chatwright.features.memory.store import Kept, Step, begin_step, draw_boundary, keep_step, load_kept, load_rest

__all__ = [
    "Exchange",
    "Fact",
    "Kept",
    "Step",
    "Summary",
    "begin_step",
    "digest",
    "draw_boundary",
    "due",
    "due_for_room",
    "fold",
    "keep_step",
    "load_kept",
    "load_rest",
    "render",
    "show_metadata",
]
