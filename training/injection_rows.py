"""The rows that teach and test the injection model: public sets, own patterns, chats, letters with and without an order.

Each row knows its set and its fold. A row that is almost the same as one of fold 0 is kept out of training by
`injection.py`, which has the vectors to see it.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chatwright.features.guard.windows import windows
from training.encode import read_rows
from training.folds import REPORTED, fold
from training.injection_asked import SAID
from training.injection_attacks import write_attacks
from training.injection_benign import KEPT, TRAINED, write_benign
from training.injection_letters import FOLDS, write_letters
from training.injection_turns import write_plain, write_turns

PUBLIC = {
    "deepset": "deepset_injections/train", "jailbreak": "jailbreak_classification/all", "piguard": "piguard_valid/all",
    "gandalf": "parapet_gandalf/all", "mosscap": "parapet_mosscap/all",
}  # fmt: skip
CHATS = {
    "banking": ("banking77/train", "text"), "clinc": ("clinc150/train", "text"), "clinc_val": ("clinc150/val", "text"),
    "clinc_oos": ("clinc150/oos_train", "text"), "stackfaq": ("stackfaq_paraphrases/pairs", "paraphrase"),
    "stackfaq_q": ("stackfaq_paraphrases/pairs", "question"), "tweets": ("tweeteval_sentiment/val", "text"),
    "hutto": ("hutto_sentiment/tweets", "text"),
}  # fmt: skip
CHAT_AT_MOST = 3_000
OWN_ATTACKS, OWN_TURNS, OWN_BENIGN, OWN_PLAIN = 3_500, 1_600, 4_000, 400
QUESTIONS_AT_MOST = 400
LETTERS = 60
PASSAGE = 1_000
_ORDERS = ("bipia", "deepset", "gandalf", "jailbreak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`attack`: what the message head shall say. `source`: the set. `whole`: the document that a window is of."""

    text: str
    attack: bool
    source: str
    fold: int
    whole: int = -1


def message_rows(folder: Path) -> dict[str, list[Row]]:
    """By set: single messages and prompts. Raises FileNotFoundError without the data."""
    rows: dict[str, list[Row]] = {}
    for source, name in PUBLIC.items():
        rows[source] = [
            Row(text=str(row["text"]), attack=str(row["label"]) == "1", source=source, fold=fold(str(row["text"])))
            for row in read_rows(folder, name)
        ]
    for source, (name, column) in CHATS.items():
        texts = sorted({str(row[column]) for row in read_rows(folder, name)})
        if len(texts) > CHAT_AT_MOST:
            texts = random.Random(3).sample(texts, CHAT_AT_MOST)
        rows[source] = [Row(text=text, attack=False, source=source, fold=fold(text)) for text in texts]
    rows["bipia"] = [
        Row(text=str(row["text"]), attack=True, source=f"bipia {row['kind']}", fold=fold(str(row["text"])))
        for row in read_rows(folder, "bipia/attacks_train")
    ]
    # What is ours takes part in training, or, of the tricky ones, half of it in the report.
    rows["attacks"] = [
        _own(text, attack=True, source="attacks", at=at) for at, text in enumerate(write_attacks(OWN_ATTACKS))
    ]
    rows["turns"] = [_own(text, attack=True, source="turns", at=at) for at, text in enumerate(write_turns(OWN_TURNS))]
    rows["plain"] = [_own(text, attack=False, source="plain", at=at) for at, text in enumerate(write_plain(OWN_PLAIN))]
    for language in ("en", "de"):
        asked = sorted({str(row["query"]) for row in read_rows(folder, f"xquad_retrieval/queries.{language}")})
        rows[f"questions {language}"] = [
            Row(text=text, attack=False, source=f"questions {language}", fold=fold(text))
            for text in random.Random(3).sample(asked, QUESTIONS_AT_MOST)
        ]
    documentation = Path(__file__).with_name("documentation_questions.jsonl").read_text("utf-8").splitlines()
    asked = [*SAID, *(str(msgspec.json.decode(line, type=dict[str, object])["question"]) for line in documentation)]
    rows["asked"] = [Row(text=text, attack=False, source="asked", fold=fold(text)) for text in dict.fromkeys(asked)]
    rows["benign"] = [
        _own(text, attack=False, source="benign", at=at) for at, text in enumerate(write_benign(OWN_BENIGN))
    ]
    rows["tricky"] = [
        *(Row(text=text, attack=False, source="tricky", fold=REPORTED) for text in KEPT),
        *(_own(text, attack=False, source="tricky", at=at) for at, text in enumerate(TRAINED)),
    ]
    return rows


def _own(text: str, *, attack: bool, source: str, at: int) -> Row:
    return Row(text=text, attack=attack, source=source, fold=1 + at % 4)


def document_rows(folder: Path, rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """By set: windows of letters and pages, clean, and the same with one order planted between two sentences.

    A document's fold is that of its text, and it is given orders of the same fold alone.
    """
    mails = sorted({str(row["context"]).strip() for row in read_rows(folder, "bipia/email_train")})
    pages = [str(row["text"]) for row in read_rows(folder, "xquad_retrieval/corpus.en")]
    draw = random.Random(5)
    made: dict[str, list[Row]] = {"mails": [], "pages": [], "planted": []}
    number = 0
    for source, texts in (("mails", mails), ("pages", pages)):
        for text in texts:
            kept = fold(text)
            made[source] += _cut(text, source, kept, number, attack=False)
            number += 1
            for attack in _orders(rows, kept, draw, source):
                planted = plant(text, attack.text, draw)
                made["planted"] += _mark(
                    _cut(planted, f"{source}: {attack.source}", kept, number, attack=True), attack.text
                )
                number += 1
    made["letters"], made["planted letters"] = [], []
    for kept in range(FOLDS):
        orders = [
            row for name in _ORDERS for row in rows[name] if row.attack and row.fold == kept and len(row.text) < 600
        ]
        for text in write_letters(LETTERS, kept):
            made["letters"] += _cut(text, "letters", kept, number, attack=False)
            attack = draw.choice(orders)
            planted = _cut(plant(text, attack.text, draw), f"letters: {attack.source}", kept, number + 1, attack=True)
            made["planted letters"] += _mark(planted, attack.text)
            number += 2
    # A manual orders its readers about on every page. Ours stands for those of others, in passages as a search cuts them.
    made["manuals"] = []
    for text in manual_passages():
        made["manuals"] += _cut(text, "manuals", fold(text), number, attack=False)
        number += 1
    return made


def manual_passages() -> list[str]:
    """This project's own documentation but its decisions and measurements, in passages of about `PASSAGE` characters."""
    passages: list[str] = []
    root = Path(__file__).parents[1] / "docs"
    for file in sorted((*root.glob("how-to/*.md"), *root.glob("tutorial/*.md"), *root.glob("reference/*.md"))):
        if file.stem == "quality":
            continue
        open_passage = ""
        for paragraph in file.read_text("utf-8").split("\n\n"):
            open_passage = f"{open_passage}\n\n{paragraph}".strip()
            if len(open_passage) >= PASSAGE:
                passages.append(open_passage)
                open_passage = ""
        passages += [open_passage] if open_passage else []
    return passages


def _orders(rows: dict[str, list[Row]], kept: int, draw: random.Random, source: str) -> Iterator[Row]:
    """Which attacks a document is given: every set has its turn, in the reported fold all of BIPIA's."""
    of_fold = {
        name: [row for row in rows[name] if row.attack and row.fold == kept and len(row.text) < 600]
        for name in ("bipia", "deepset", "gandalf", "jailbreak", "attacks")
    }
    names = [name for name in of_fold if of_fold[name]]
    for name in names if source == "mails" else draw.sample(names, 1):
        found = of_fold[name]
        count = len(found) if name == "bipia" and kept == REPORTED and source == "mails" else 3
        yield from draw.sample(found, min(count if source == "mails" else 1, len(found)))


def plant(text: str, order: str, draw: random.Random) -> str:
    """`order` as a line or a sentence of its own, at the beginning, at the end or somewhere between two sentences."""
    ends = [0, len(text), *(at + 1 for at in range(len(text) - 1) if text[at] in ".!?\n" and text[at + 1] in " \n")]
    at = draw.choice(ends)
    between = draw.choice(["\n", " ", " ", "\n\n"])
    return f"{text[:at].rstrip()}{between}{order.strip()}{between}{text[at:].lstrip()}".strip()


def _cut(text: str, source: str, kept: int, number: int, *, attack: bool) -> list[Row]:
    return [Row(text=window, attack=attack, source=source, fold=kept, whole=number) for window in windows(text)]


def _mark(rows: Sequence[Row], order: str) -> list[Row]:
    """A window that holds nothing of the order is no attack: it teaches nothing, and stays for the document's sake."""
    words = set(order.casefold().split())
    return [
        Row(text=row.text, attack=_share(words, row.text) >= 0.6, source=row.source, fold=row.fold, whole=row.whole)
        for row in rows
    ]


def _share(words: Iterable[str], text: str) -> float:
    wanted, there = set(words), set(text.casefold().split())
    return len(wanted & there) / max(1, len(wanted))
