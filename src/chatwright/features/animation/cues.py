"""A cue for each sentence of a reply while it is streamed. Pure: the time is passed in.

One object for each answer, made by `pipeline/answer.py` and asked for every piece of text that goes out.
"""

from collections.abc import Mapping
from typing import Any

from chatwright.domain.language import sentence_spans
from chatwright.features.animation.rules import others
from chatwright.features.animation.sets import AnimationSet
from chatwright.features.animation.tones import Tone, tone_of

_MOST_WAITING_CHARS = 1_000
_ENOUGH_CHARS = 16
"""An open sentence shorter than this may still turn out to be anything: nobody says yet that it is plain."""


class Cues:
    """What the avatar does while its reply is streamed.

    Each piece of text is given the name of what plays now. No cue follows itself, so another name is another cue, for
    readers who missed pieces, too. A cue plays for `dwell_s` at least; what came meanwhile has its cue then, in order.
    """

    def __init__(self, animation_set: Mapping[str, Any] | AnimationSet | None = None) -> None:
        self._set = AnimationSet.of(animation_set)
        self.playing: str | None = None
        self._since_s: float | None = None
        """When the cue began; None while nothing was said."""
        self._waiting = ""
        """Text without a cue; its first sentence may have one already."""
        self._cued: Tone | None = None
        """The cue that the first sentence in `_waiting` has."""
        self._counts: dict[Tone, int] = {}

    def use(self, animation_set: Mapping[str, Any] | AnimationSet | None) -> None:
        """Take another set from now on: the chatbot is loaded later than its stream is opened."""
        self._set = AnimationSet.of(animation_set)

    def begin(self) -> str:
        """What plays until the first sentence."""
        self.playing = (self._set.tone.get("waiting") or self._set.default)[0]
        return self.playing

    def restart(self) -> str:
        """Forget what was said: the stream starts over."""
        self._since_s, self._waiting, self._cued = None, "", None
        self._counts.clear()
        return self.begin()

    def animate(self, text: str, now_s: float) -> str:
        """What plays as `text`, which follows on what was given before, goes out at `now_s` seconds of any clock.

        0.2 µs while a cue must still play, else about 30 µs.
        """
        self._waiting += text
        if len(self._waiting) > _MOST_WAITING_CHARS:
            self._waiting, self._cued = self._waiting[-_MOST_WAITING_CHARS:], None
        playing = self.playing
        if playing is None:
            playing = self.begin()
        if self._since_s is not None and now_s - self._since_s < self._set.dwell_s:
            return playing
        tone = self._next_tone()
        if tone is None:
            return playing
        candidates = self._set.tone.get(tone) or self._set.tone.get("plain") or self._set.default
        fresh = others(candidates, self._set, playing)
        count = self._counts.get(tone, 0)
        self._counts[tone] = count + 1
        # In turn through the table, minus what plays just now.
        turn = candidates[count % len(candidates)]
        self.playing = turn if turn in fresh else fresh[0]
        self._since_s = now_s
        return self.playing

    def _next_tone(self) -> Tone | None:
        """The tone of the first sentence waiting that tells one, else `plain` if any is new; None: nothing to change.
        What stands before it is done with."""
        sentences = _sentences(self._waiting)
        is_new = False
        for number, (start, end, whole) in enumerate(sentences):
            cued = self._cued if number == 0 else None
            tone = tone_of(self._waiting[start:end], whole=whole)
            if tone not in ("plain", cued):
                self._done_with(start if not whole else end, tone if not whole else None)
                return tone
            is_new = is_new or (cued is None and (whole or end - start >= _ENOUGH_CHARS))
        if not sentences:
            return None
        start, end, whole = sentences[-1]
        open_tone = self._cued if len(sentences) == 1 else None
        if is_new and not whole and end - start >= _ENOUGH_CHARS:
            open_tone = "plain"
        self._done_with(end if whole else start, None if whole else open_tone)
        return "plain" if is_new else None

    def _done_with(self, upto: int, cued: Tone | None) -> None:
        self._waiting, self._cued = self._waiting[upto:], cued


def _sentences(text: str) -> list[tuple[int, int, bool]]:
    """(start, end, whether its end has come) of each sentence, in order; a line ends one."""
    found: list[tuple[int, int, bool]] = []
    at = 0
    for line in text.splitlines(keepends=True):
        spans = sentence_spans(line)
        ends_line = line[-1] in "\r\n"
        for number, (start, end) in enumerate(spans):
            last = number == len(spans) - 1
            whole = not last or ends_line or end < len(line) or line[end - 1] in "?!？！。"
            found.append((at + start, at + end, whole))
        at += len(line)
    return found
