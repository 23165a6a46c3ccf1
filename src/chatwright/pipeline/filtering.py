"""What an answer passes on its way out besides its links: the chatbot's filter, made for one answer.

`answer.py` and `inline.py` hand `output_filter` to `grounding.window`; streamed or whole, queued or not, it is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.detection import detect_language
from chatwright.domain.providers import Delta, Finish, Prompt
from chatwright.features.guard.leaks import canary_in
from chatwright.features.guard.output import Hit, OutputFilter, filter_for
from chatwright.features.guard.policy import GuardPolicy
from chatwright.pipeline.grounding import Window, window
from chatwright.pipeline.stream import ConversationSink, Progress


def output_filter(chatbot: Chatbot, prompt: Prompt, *, replaces: bool) -> OutputFilter | None:
    """The filter for the answer to `prompt`, None where there is nothing to look for. `chatbot` with its tenant's rules in
    its policy. `replaces`: the visitor's page can put another text in the place of what it shows.

    A chatbot with neither prompt nor knowledge of its own has nothing that could leak: behind `/v1` it is a gateway, and
    system turns there are their caller's.
    """
    policy = GuardPolicy.of(chatbot.guard_policy)
    first = prompt.turns[0] if prompt.turns else None
    has_own = bool(chatbot.system_prompt or chatbot.personality or chatbot.persona or chatbot.policy)
    system = first.content if has_own and first is not None and first.role == "system" else ""

    def told() -> Sequence[str]:
        sources = (text for source in prompt.sources for text in (source.title, source.text or source.quote))
        greetings = chatbot.persona.get("greetings")
        return (
            chatbot.name,
            chatbot.greeting,
            *([text for text in greetings.values() if isinstance(text, str)] if isinstance(greetings, dict) else ()),
            chatbot.no_answer_text,
            chatbot.apology_text,
            *chatbot.suggested_questions,
            *sources,
        )

    return filter_for(
        policy,
        prompt=system,
        told=told,
        canary=canary_in(system),
        languages=chatbot.languages,
        language=lambda: detect_language(prompt.question),
        replaces=replaces,
    )


async def replace_if_stopped(held: Window | None, sink: ConversationSink, progress: Progress) -> None:
    """Where the filter has ended an answer and another text is to stand in its place: show that. Raises LostLock."""
    text = None if held is None else held.replacement
    if text is not None:
        progress.parts[:] = [text]
        await sink.replace(text)


@dataclass(slots=True)
class Guarded:
    """The windows of one stream of `/v1`: what a model thinks aloud reaches the same page as what it says."""

    text: Window
    reasoning: Window
    _thinks: bool = False  # something of the reasoning may still be held

    @classmethod
    def of(cls, chatbot: Chatbot, prompt: Prompt) -> "Guarded | None":
        """None where nothing has to be held back."""
        text = window(chatbot, prompt.sources, output_filter(chatbot, prompt, replaces=False))
        reasoning = window(chatbot, prompt.sources, output_filter(chatbot, prompt, replaces=False))
        return None if text is None or reasoning is None else cls(text, reasoning)

    @property
    def stopped(self) -> bool:
        """Whether a filter has ended the answer: the piece that was let through last is its end."""
        return self.text.stopped or self.reasoning.stopped

    @property
    def hits(self) -> tuple[Hit, ...]:
        return (*self.reasoning.hits, *self.text.hits)

    def through(self, delta: Delta) -> Delta:
        """A piece as the windows let it out; the piece that ends the answer brings the rest."""
        if not (delta.text or delta.reasoning or delta.finish):
            return delta
        reasoning = ""
        if delta.reasoning:
            reasoning, self._thinks = self.reasoning.feed(delta.reasoning), True
        if self.reasoning.stopped:
            return replace(delta, reasoning=reasoning, text="", tool_calls=None, finish=Finish.CONTENT_FILTER)
        text = self.text.feed(delta.text) if delta.text else ""
        if self._thinks and (delta.text or delta.finish):
            reasoning += self.reasoning.finish()
            self._thinks = False
        if delta.finish:
            text += self.text.finish()
        if self.stopped:
            return replace(delta, reasoning=reasoning, text=text, tool_calls=None, finish=Finish.CONTENT_FILTER)
        return replace(delta, reasoning=reasoning, text=text)
