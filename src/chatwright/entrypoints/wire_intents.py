"""Bodies of the calls about a chatbot's own intents. See `admin_intents.py`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from chatwright.entrypoints.wire import JsonObject, Request

IntentName = Annotated[str, Meta(min_length=1, max_length=64)]
Example = Annotated[str, Meta(min_length=1, max_length=500)]
Examples = Annotated[tuple[Example, ...], Meta(min_length=1, max_length=500)]
TriedText = Annotated[str, Meta(min_length=1, max_length=4_000)]


class IntentBody(Request, frozen=True):
    """An intent and what visitors say who have it."""

    name: IntentName
    examples: Examples


class IntentsRequest(Request, frozen=True):
    """All of the chatbot's own intents; those that are not named go."""

    intents: Annotated[tuple[IntentBody, ...], Meta(max_length=300)]


class ExamplesRequest(Request, frozen=True):
    """One intent's examples; they take the place of those it had."""

    examples: Examples


class IntentShown(msgspec.Struct, frozen=True):
    name: str
    examples: tuple[str, ...]


class IntentsReply(msgspec.Struct, frozen=True):
    """`state`: `none`, `training` (what is served is the model before) or `trained`. `quality` is what the model would say of
    its own examples, had it not seen them; null before the first training."""

    intents: list[IntentShown]
    state: str
    threshold: float
    trained_at: str | None
    quality: JsonObject | None


class TryRequest(Request, frozen=True):
    texts: Annotated[tuple[TriedText, ...], Meta(min_length=1, max_length=100)]


class TriedIntent(msgspec.Struct, frozen=True):
    """`intent` is null where the likeliest is below the threshold."""

    intent: str | None
    likeliest: str
    confidence: float


class TryReply(msgspec.Struct, frozen=True):
    results: list[TriedIntent]
