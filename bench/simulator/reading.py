"""The answer of a model that is asked to read a visitor's message. Pure."""

import json

_NAMES = ("sentiment", "intent", "emotion")


def asks_for_reading(last: str) -> bool:
    """Whether the last user message of a request is a visitor's message that is to be read, not answered."""
    return last.startswith("<visitor_message>")


def reading_reply(labels: str) -> str:
    """The JSON that says `sentiment+intent+emotion`."""
    return json.dumps(dict(zip(_NAMES, labels.split("+"), strict=False)))
