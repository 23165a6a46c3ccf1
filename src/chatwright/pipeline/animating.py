"""What the avatar does about a message: a reading and a chatbot's tables -> a name. Called by the flows that answer, and
by jobs of the type `animation_selection`."""

from collections.abc import Mapping
from typing import Any

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Unprocessable
from chatwright.domain.reading import Reading
from chatwright.features import animation

SELECTORS = ("intent", "custom_intent", "emotion", "sentiment")
"""Fields of a payload, each of which goes before what was read from its text."""


def react(message_id: str, reading: Reading | None, chatbot: Chatbot | None, *, previous: str | None = None) -> str:
    """The animation of an answer. `previous`: that of the conversation's last answer, which is not repeated."""
    return animation.choose(
        message_id,
        intent=reading.intent if reading else None,
        custom_intent=reading.custom_intent if reading else None,
        emotion=reading.emotion if reading else None,
        sentiment=reading.sentiment if reading else None,
        animation_set=chatbot.animation_set if chatbot else None,
        previous=previous,
    )


def select(message_id: str, payload: Mapping[str, Any], reading: Reading | None, chatbot: Chatbot | None) -> str:
    """The animation that a job asks for. The payload's own labels go before `reading`, which is of its text.

    Raises Unprocessable for a label that is no text: a foreign producer may put anything into a payload.
    """
    labels: dict[str, str | None] = {}
    for name in (*SELECTORS, "previous"):
        value = payload.get(name)
        if value is not None and not isinstance(value, str):
            raise Unprocessable(f"`{name}` is a text", param=f"payload.{name}")
        labels[name] = value or (getattr(reading, name) if reading is not None and name in SELECTORS else None)
    return animation.choose(
        message_id,
        intent=labels["intent"],
        custom_intent=labels["custom_intent"],
        emotion=labels["emotion"],
        sentiment=labels["sentiment"],
        animation_set=chatbot.animation_set if chatbot else None,
        previous=labels["previous"],
    )
