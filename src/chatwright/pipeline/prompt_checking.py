"""A chatbot's instructions looked at when they are saved: keys are refused, whatever else is wrong with them is told.

Called by `manage.py` (refuse) and by `entrypoints/admin_chatbots.py` (`warnings` of a reply).
"""

from collections.abc import Mapping
from typing import Any

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Unprocessable
from chatwright.features import prompting
from chatwright.features.guard.prompt_checks import PromptWarning, check_texts, find_key
from chatwright.pipeline.limits import room_tokens
from chatwright.pipeline.services import Services

TEXTS = ("system_prompt", "personality")


def refuse_keys(values: Mapping[str, Any]) -> None:
    """Raise Unprocessable for a chatbot's text that holds somebody's key: every prompt carries it to a provider."""
    for name in TEXTS:
        text = values.get(name)
        if isinstance(text, str) and (found := find_key(text)) is not None:
            raise Unprocessable(
                f"a key stands in it ({found}): every prompt would carry it to the provider, and visitors may talk it out of "
                "the model; take it out, and replace the key if it is in use",
                param=name,
            )


def warnings_of(app: Services, chatbot: Chatbot) -> list[PromptWarning]:
    """What is to be said of a chatbot's instructions as they are stored."""
    texts = {name: text for name in TEXTS if (text := getattr(chatbot, name)).strip()}
    if not texts:
        return []
    windows = [
        context
        for link in chatbot.providers
        if link.model and (context := app.catalogue.model(link.provider, link.model).context_tokens) is not None
    ]
    # What the operator and the plan allow for a prompt bounds it as the model does.
    windows.append(room_tokens(app, chatbot) + chatbot.max_tokens)
    return check_texts(
        texts,
        tokens=sum(prompting.estimate_tokens(text) for text in texts.values()),
        window_tokens=min(windows),
        max_tokens=chatbot.max_tokens,
    )
