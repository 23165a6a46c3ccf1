"""What all readers share: text made storable, tables as Markdown or records, and the pairs of an FAQ. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from chatwright.domain.documents import Block

MAX_TABLE_COLUMNS = 8
MAX_ROW_CHARACTERS = 240  # a wider row is read more easily as "name: value" lines, and so is its passage


def listed(text: str) -> frozenset[str]:
    """A set written as running text: word lists read best so."""
    return frozenset(text.split())


_CONTROLS = {code: " " for code in range(32) if code not in (9, 10)} | {
    0: "",
    0x7F: " ",
    0xFEFF: "",
    0x0C: "\n",
    0x85: "\n",
    0x2028: "\n",
    0x2029: "\n",
}


def clean(text: str) -> str:
    """Make any string storable and readable: NULs go, lone surrogates become U+FFFD, line ends become one newline."""
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if not _is_encodable(text) else text
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def squeeze(text: str) -> str:
    return " ".join(text.split())


_ENDS_QUESTION = re.compile(r"[?？؟՞;][\s\"'»”’)\]*_`]*$")  # the last but one is Armenian, the last the Greek mark
_WORDLIKE = re.compile(r"\w")


def is_question(text: str) -> bool:
    """Whether a heading or a summary asks something: it ends with a question mark of any script and is no mere mark."""
    return len(text) <= 300 and bool(_ENDS_QUESTION.search(text)) and len(_WORDLIKE.findall(text)) >= 4


# --- tables ---------------------------------------------------------------------------------------------------------

_QUESTION_NAMES = listed(
    "question questions q faq|question frage fragen pregunta preguntas domanda pergunta vraag fråga spørgsmål spørsmål "
    "kysymys pytanie otázka întrebare kérdés вопрос питання въпрос ερώτηση soru pertanyaan soalan câu|hỏi คำถาม "
    "问题 問題 問 질문 質問 سؤال السؤال پرسش שאלה प्रश्न प्रश्न: প্রশ্ন prompt user|question customer|question"
)
_ANSWER_NAMES = listed(
    "answer answers a response reply antwort antworten respuesta respuestas réponse reponse risposta resposta antwoord "
    "svar vastaus odpowiedź odpověď odpoveď răspuns válasz ответ відповідь отговор απάντηση cevap yanıt jawaban jawapan "
    "câu|trả|lời trả|lời คำตอบ 答案 回答 答 答え 답변 답 جواب إجابة الإجابة الجواب پاسخ תשובה उत्तर উত্তর faq|answer completion"
)


def pair_columns(header: Sequence[str]) -> tuple[int, int] | None:
    """Which columns of a table hold questions and answers, by their names; None if it is no FAQ."""
    names = ["|".join(name.casefold().strip(" :*_").replace("_", " ").split()) for name in header]
    questions = [at for at, name in enumerate(names) if name in _QUESTION_NAMES]
    answers = [at for at, name in enumerate(names) if name in _ANSWER_NAMES]
    return (questions[0], answers[0]) if len(questions) == 1 and len(answers) == 1 else None


def table_blocks(rows: Iterable[Sequence[str]], header_rows: int, *, page: int | None = None) -> Iterator[Block]:
    """A table as one block of Markdown; wide ones as a block per row; FAQ tables as questions with their answers.

    A row of empty cells falls. Rows are read one by one, so that a table of a million rows costs no more memory than
    its blocks, except for a Markdown table, which is one block.
    """
    kept = (row for row in rows if any(row))
    head = list(islice(kept, 30))
    if not head:
        return
    columns = pair_columns(head[0]) if len(head) > 1 else None
    if columns is not None:
        for row in chain(head[1:], kept):
            yield from _pair(head[0], row, columns, page)
        return
    width = max(len(row) for row in head)
    body = head[header_rows:]
    average = sum(len(cell) for row in body for cell in row) / max(1, len(body))
    if header_rows == 1 and body and width > 1 and (width > MAX_TABLE_COLUMNS or average > MAX_ROW_CHARACTERS):
        yield from _records(head[0], chain(body, kept), page)
        return
    yield _markdown_table(chain(head, kept), header_rows, page)


def _markdown_table(rows: Iterable[Sequence[str]], header_rows: int, page: int | None) -> Block:
    kept = [[squeeze(cell).replace("|", "\\|") for cell in row] for row in rows]
    width = max(len(row) for row in kept)
    lines: list[str] = []
    headers = 0
    last_header = min(header_rows, len(kept)) - 1
    for number, row in enumerate(kept):
        lines.append("| " + " | ".join(row + [""] * (width - len(row))) + " |")
        if number == last_header:
            lines.append("|" + " --- |" * width)
            headers = len(lines)
    return Block(kind="table", text="\n".join(lines), header_rows=headers, page=page)


def _records(header: Sequence[str], rows: Iterable[Sequence[str]], page: int | None) -> Iterator[Block]:
    """One block per row, one line per cell that is not empty."""
    names = [squeeze(name) for name in header]
    for row in rows:
        yield Block(kind="prose", text="\n".join(_named(names, row)), page=page)


def _named(names: Sequence[str], row: Sequence[str], left_out: Iterable[int] = ()) -> list[str]:
    skipped = frozenset(left_out)
    return [
        f"{names[at]}: {value.strip()}" if at < len(names) and names[at] else value.strip()
        for at, value in enumerate(row)
        if value.strip() and at not in skipped
    ]


def _pair(header: Sequence[str], row: Sequence[str], columns: tuple[int, int], page: int | None) -> Iterator[Block]:
    question, answer = (row[at].strip() if at < len(row) else "" for at in columns)
    rest = _named([squeeze(name) for name in header], row, columns)
    asked = squeeze(question) or None
    texts = [paragraph for paragraph in (answer, "\n".join(rest)) if paragraph]
    if not texts:  # nobody has answered it yet
        yield Block(kind="prose", text=question, page=page)
    for text in texts:
        yield Block(kind="prose", text=text, page=page, question=asked)
