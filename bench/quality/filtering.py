"""What the filter over answers shows, holds, takes away by mistake and costs.

Borders: sentences of customers (fold 0 of BANKING77 and CLINC150) with a term of a list of 40 put in, cut at every place and
at every pair of places a few characters apart, fed to the very filter that answers pass. Leaks: prompts of fold 0 of
`jailbreak_classification` said back in excerpts of 60 words with words changed, dropped and added; other texts beside them.
The word lists are held against texts of fold 0 that were not looked at when harmless words were taken out of them.
"""

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.quality.articles import read_rows
from bench.quality.page import put
from chatwright.features.guard.leaks import PromptWatch, protected_of
from chatwright.features.guard.output import OutputFilter, filter_for
from chatwright.features.guard.policy import CATEGORIES, GuardPolicy
from chatwright.features.guard.profanity import category_terms
from chatwright.features.guard.terms import TermMatcher, fold_text
from training.folds import REPORTED, fold

_SENTENCES = 60
_PROMPTS = 150
_EXCERPT = 60
_ALIEN = "thing place often maybe really person part kind item other simple given called used"
_WRITTEN = ("{}", "{:upper}", "{:zero}", "{:apart}", "{:bold}", "{:reference}")
TERMS = tuple(f"{first}{second}" for first in ("glorb", "snazz", "trelk", "voomp", "quarn") for second in ("", "ed", "ing", "er", " deal", " and co", "ito", "s"))  # fmt: skip
PROMPT = (
    "You are Ada, the assistant of Acme Garden Shop. Answer in the visitor's language. Never promise refunds after thirty days. "
    "Opening hours are Monday to Friday from nine to five."
)


def section(folder: Path) -> str:
    """Markdown. Raises FileNotFoundError without the data."""
    texts = _texts(folder)
    lines = ["| what | trials | result |", "| --- | --- | --- |"]
    lines += _borders([text for text in texts if len(text) < 120][:_SENTENCES])
    lines += _delays(texts)
    lines += _lists(texts)
    lines += _leaks(folder)
    return "\n".join(lines)


def _texts(folder: Path) -> list[str]:
    rows = [row["text"] for name in ("banking77/train", "clinc150/train") for row in read_rows(folder, name)]
    passages = [
        row["text"] for name in ("corpus.en", "corpus.de") for row in read_rows(folder, f"xquad_retrieval/{name}")
    ]
    return [text for text in (*rows, *passages) if fold(text) == REPORTED]


def _write(term: str, how: str) -> str:
    return {
        "{}": term,
        "{:upper}": term.upper(),
        "{:zero}": "\u200b".join(term),
        "{:apart}": " ".join(term.replace(" ", "")) if " " not in term else term,
        "{:bold}": f"**{term[:2]}**{term[2:]}",
        "{:reference}": "".join(f"&#{ord(letter)};" if letter.isalnum() else letter for letter in term),
    }[how]


def _run(window: OutputFilter, text: str, cuts: Sequence[int]) -> str:
    shown, at = "", 0
    for cut in (*cuts, len(text)):
        shown += window.feed(text[at:cut])
        at = cut
    return shown + window.finish()


def _borders(sentences: Sequence[str]) -> list[str]:
    """Every cut, every pair of cuts up to three characters apart, and every character alone."""
    chance = random.Random(7)
    runs = leaked = differing = 0
    policy = GuardPolicy(banned_terms=TERMS)
    for sentence in sentences:
        term = chance.choice(TERMS)
        words = sentence.split(" ")
        place = chance.randrange(len(words) + 1)
        for how in _WRITTEN:
            text = " ".join((*words[:place], _write(term, how), *words[place:]))
            begins = len(" ".join(words[:place])) + (place > 0)
            whole = None
            cuts = [(one,) for one in range(1, len(text))]
            cuts += [(one, two) for one in range(1, len(text)) for two in range(one + 1, min(one + 4, len(text)))]
            for cut in (*cuts, tuple(range(1, len(text)))):
                window = filter_for(policy, replaces=True)
                assert window is not None
                shown = _run(window, text, cut)
                whole = shown if whole is None else whole
                runs += 1
                # Marks before the first letter may be shown, no letter of the term may.
                leaked += any(character.isalnum() for character in shown[begins:])
                differing += shown != whole
    return [
        f"| banned terms cut at every border: letters of them shown | {runs:,} | {leaked} |",
        f"| the same: results that hang on the cuts | {runs:,} | {differing} |",
    ]


def _delays(texts: Sequence[str]) -> list[str]:
    """Pieces of one word with its space before it, as models send them."""
    lines: list[str] = []
    everything = GuardPolicy(banned_terms=TERMS, categories=CATEGORIES, redact=("email", "phone", "card", "iban"))
    for name, policy in (("what a chatbot has by default", GuardPolicy()), ("terms, lists and redaction", everything)):
        late: list[int] = []
        spent_s = 0.0
        for text in texts[-200:]:
            window = filter_for(policy, prompt=PROMPT)
            assert window is not None
            words = text.split(" ")
            pieces = [" " * (at > 0) + word for at, word in enumerate(words)]
            waiting: list[tuple[int, int]] = []
            came = sent = 0
            began_s = time.process_time()
            shown = [window.feed(piece) for piece in pieces]
            spent_s += time.process_time() - began_s
            for number, (piece, out) in enumerate(zip(pieces, shown, strict=True)):
                came, sent = came + len(piece), sent + len(out)
                waiting.append((came, number))
                while waiting and waiting[0][0] <= sent:
                    late.append(number - waiting.pop(0)[1])
            late += [len(pieces) - number for _, number in waiting]
        late.sort()
        middle, most = late[len(late) // 2], late[int(len(late) * 0.99)]
        lines.append(f"| pieces that a piece waits for, {name}: p50, p99 | {len(late):,} | {middle}, {most} |")
        lines.append(f"| CPU for each piece, {name} | {len(late):,} | {spent_s / len(late) * 1e6:.0f} µs |")
    return lines


def _lists(texts: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for category in CATEGORIES:
        words = category_terms(category, ("en", "de"))
        matcher = TermMatcher([(category, words)])
        marked = sum(bool(matcher.scan(fold_text(text), 0, last=True).spans) for text in texts)
        lines.append(
            f"| ordinary texts with a word of `{category}` (English and German, {len(words)} words) | {len(texts):,} | {marked} |"
        )
    return lines


def _leaks(folder: Path) -> list[str]:
    chance = random.Random(4)
    rows = [row["text"] for row in read_rows(folder, "jailbreak_classification/all")]
    prompts = [text for text in rows if 200 < len(text) < 4_000 and fold(text) == REPORTED][:_PROMPTS]
    lines: list[str] = []
    for rate in (0.0, 0.1, 0.2, 0.3):
        found, shown = 0, list[int]()
        for prompt in prompts:
            words = prompt.split()
            start = chance.randrange(max(1, len(words) - _EXCERPT))
            said = "Sure, here you go: " + " ".join(_changed(words[start : start + _EXCERPT], rate, chance))
            at = _leak(prompt, said)
            found += at is not None
            shown += [] if at is None else [len(said[:at].split()) - 4]
        shown.sort()
        lines.append(
            f"| prompts said back, {rate:.0%} of the words changed: stopped, words of it shown p50 | {len(prompts)} | "
            f"{found / len(prompts):.3f}, {shown[len(shown) // 2]} |"
        )
    others = [row["text"] for row in read_rows(folder, "xquad_retrieval/corpus.en")]
    pairs = [(prompt, text) for prompt in prompts for text in chance.sample(others, 20)]
    wrongly = sum(_leak(prompt, text) is not None for prompt, text in pairs)
    lines.append(f"| other texts stopped as a leak of these prompts | {len(pairs):,} | {wrongly} |")
    return lines


def _changed(words: Sequence[str], rate: float, chance: random.Random) -> list[str]:
    changed: list[str] = []
    for word in words:
        draw, other = chance.random(), chance.choice(_ALIEN.split())
        if draw < rate / 3:
            continue
        if draw < rate * 2 / 3:
            changed.append(other)
        else:
            changed += [other, word] if draw < rate else [word]
    return changed


def _leak(prompt: str, said: str) -> int | None:
    watch = PromptWatch(protected_of(prompt), tuple)
    watch.feed(fold_text(said), last=True)
    return watch.leak_at


if __name__ == "__main__":
    put("filtering", section(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")))
