"""HTML as blocks, in reading order. Pure; used by `reading`, `epub`, `mail`, and for the HTML inside Markdown.

What belongs to the site and not to the page is left out by `boilerplate`. The walk is iterative: nesting costs memory,
never the stack.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from selectolax.lexbor import LexborHTMLParser, LexborNode

from chatwright.adapters.documents.blocks import is_question, listed, squeeze, table_blocks
from chatwright.adapters.documents.boilerplate import drop_boilerplate, main_part, without_link_lists
from chatwright.adapters.documents.schema import schema_pairs
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAKING = listed(
    "address article blockquote body center dd details div dl dt fieldset figcaption figure hr main ol p section "
    "summary table tbody td tfoot th thead tr ul"
)

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_NOT_NESTING = listed(
    "p li td th tr dt dd tbody thead tfoot option optgroup colgroup rp rt "
    "area base br col embed hr img input link meta param source track wbr"
)
_MAX_DEPTH = 2_000  # the parser's time grows with the square of the depth: 0.4 s at 20,000, over a minute at 200,000


def parse_html(text: str) -> LexborHTMLParser:
    """Parse a page or a fragment. Raises Unprocessable when elements nest absurdly deep."""
    depth = 0
    for tag in _TAG.finditer(text):
        if tag[2].lower() not in _NOT_NESTING:
            depth = max(0, depth - 1) if tag[1] else depth + 1
            if depth > _MAX_DEPTH:
                raise Unprocessable(f"the HTML nests more than {_MAX_DEPTH:,} elements deep; simplify the page")
    return LexborHTMLParser(text)


def html_title(text: str) -> str:
    """The page's `<title>`, or an empty string."""
    node = parse_html(text).css_first("title")
    return squeeze(node.text()) if node else ""


def html_language(text: str) -> str | None:
    """The language that `<html lang>` declares, as ISO 639-1, or None."""
    found = re.search(r"<html[^>]{0,400}?\blang\s*=\s*[\"']?([a-zA-Z]{2})\b", text[:4_000], re.IGNORECASE)
    return found[1].lower() if found else None


def html_blocks(text: str, *, fragment: bool = False) -> Iterator[Block]:
    """The blocks of a page. `fragment`: a piece of HTML inside another document, of which nothing but scripts falls.

    Questions and answers that only the page's structured data hold follow at the end. Raises Unprocessable.
    """
    tree = parse_html(text)
    pairs = [] if fragment else schema_pairs(tree)
    drop_boilerplate(tree, fragment=fragment)
    root = tree.body or tree.root
    if root is None:
        return
    reader = _HtmlReader()
    _walk(root if fragment else main_part(root), reader)
    blocks = reader.blocks if fragment else without_link_lists(reader.blocks, reader.linked)
    if not blocks and not pairs and not fragment:  # all of it looked like boilerplate: then it is the page
        yield from html_blocks(text, fragment=True)
        return
    yield from blocks
    if pairs:
        seen = {squeeze(block.question or block.text).casefold() for block in blocks}
        for question, answer in pairs:
            if question.casefold() not in seen:
                yield from _answer(question, answer)


def _answer(question: str, answer: str) -> Iterator[Block]:
    for block in html_blocks(answer, fragment=True):
        yield replace(block, question=question)


def _walk(root: LexborNode, reader: "_HtmlReader") -> None:
    node: LexborNode | None = root
    while node is not None:
        down = None
        if node.is_text_node:
            reader.text(node.text_content or "")
        elif node.is_element_node and reader.enter(node):
            down = node.child
        if down is not None:
            node = down
            continue
        while node is not None:
            if node.is_element_node:
                reader.leave(node)
            if node.mem_id == root.mem_id:
                node = None
            elif node.next is not None:
                node = node.next
                break
            else:
                node = node.parent
    reader.flush()


class _Cell:
    """A table's cell, and over how many columns and rows it reaches."""

    __slots__ = ("columns", "is_header", "rows", "text")

    def __init__(self, node: LexborNode, text: str) -> None:
        self.text = text
        self.is_header = node.tag == "th"
        self.columns = _span(node.attributes.get("colspan"))
        self.rows = _span(node.attributes.get("rowspan"))


def _span(value: str | None) -> int:
    return min(max(int(value), 1), 50) if value and value.isdecimal() and len(value) < 6 else 1


def _grid(cells: list[list[_Cell]]) -> list[list[str]]:
    """Rows of equal meaning: what reaches over several rows stands in each, a header's name over each column."""
    rows: list[list[str]] = []
    reaching: dict[int, tuple[int, str]] = {}  # column → rows still to come, text
    for row in cells:
        texts: list[str] = []

        def fill(texts: list[str] = texts) -> None:
            while (held := reaching.get(len(texts))) is not None:
                left, text = held
                reaching[len(texts)] = (left - 1, text)
                if left <= 1:
                    del reaching[len(texts)]
                texts.append(text)

        for cell in row:
            fill()
            for number in range(cell.columns):
                text = cell.text if number == 0 or cell.is_header else ""
                if cell.rows > 1:
                    reaching[len(texts)] = (cell.rows - 1, text)
                texts.append(text)
        fill()
        if row and not (len(row) == 1 and row[0].rows > 1):  # such a row only begins what the next ones belong to
            rows.append(texts)
    return rows


class _HtmlReader:
    """Collects blocks from enter/leave/text events of one walk over a page."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.linked: list[bool] = []
        """Beside `blocks`: whether nothing but links stands in it."""
        self._text: list[str] = []
        self._lists: list[int | None] = []
        self._mark: str | None = None
        self._table: list[list[_Cell]] | None = None
        self._tables_open = 0
        self._header_rows = 0
        self._links_open = 0
        self._free = False  # the paragraph in progress has words outside of links
        self._question: str | None = None
        self._asked_at = 0  # blocks before the question in progress
        self._details: list[str | None] = []  # per open <details>, the question around it

    def enter(self, node: LexborNode) -> bool:
        """Take an element's start. False when its children are already read."""
        tag = node.tag or ""
        if tag == "br":
            self._text.append(" ")
        elif tag == "pre" and self._table is None:
            self.flush()
            code = node.text().strip("\n")
            if code.strip():
                self._add(Block(kind="code", text=code), linked=False)
            return False
        elif tag == "code":
            self._text.append("`")
        elif tag == "a":
            self._links_open += 1
        elif tag == "table":
            self._tables_open += 1
            if self._tables_open == 1:
                self.flush()
                self._table, self._header_rows = [], 0
        elif self._table is not None:
            if self._tables_open == 1 and tag == "tr":
                self._table.append([])
            elif self._tables_open == 1 and tag in {"td", "th"}:
                self._text.clear()
            elif tag in _BREAKING or tag == "li":
                self._text.append(" ")
        elif tag in {"ul", "ol", "menu"}:
            self.flush()
            start = node.attributes.get("start") or ""
            self._lists.append(None if tag != "ol" else int(start) if start.isdecimal() and len(start) < 9 else 1)
        elif tag == "li":
            self.flush()
            number = self._lists[-1] if self._lists else None
            self._mark = "-" if number is None else f"{number}."
            if number is not None:
                self._lists[-1] = number + 1
        elif tag == "details":
            self.flush()
            self._details.append(self._question)
        elif tag in _HEADINGS or tag in _BREAKING:
            self.flush()
        return True

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "code":
            self._text.append("`")
        elif tag == "a":
            self._links_open -= 1
        elif tag == "table":
            self._tables_open -= 1
            if self._tables_open == 0 and self._table is not None:
                self._leave_table(self._table)
        elif self._table is not None:
            if self._tables_open == 1 and tag in {"td", "th"} and self._table:
                self._table[-1].append(_Cell(node, squeeze("".join(self._text))))
                self._text.clear()
                if tag == "th" and len(self._table) == 1:
                    self._header_rows = 1
        elif tag in {"summary", "dt"} and is_question(question := squeeze("".join(self._text))):
            self._text.clear()
            self._ask(question)
        elif tag in {"dt", "dl"}:
            text = "".join(self._text)
            self._text.clear()
            self._ask(None)
            self._text.append(text)
            self.flush()
        elif tag == "details":
            self.flush()
            self._ask(self._details.pop() if self._details else None)
        elif tag in {"ul", "ol", "menu"}:
            self.flush()
            if self._lists:
                self._lists.pop()
        elif tag in _HEADINGS:
            self._leave_heading(tag, node.attributes.get("id") or None)
        elif tag in _BREAKING or tag == "li":
            self.flush()

    def _leave_table(self, cells: list[list["_Cell"]]) -> None:
        self._table = None
        if all(len(row) < 2 for row in cells):  # a layout table: its cells are the page's paragraphs
            blocks: Iterator[Block] = (
                Block(kind="prose", text=cell.text) for row in cells for cell in row if cell.text
            )
        else:
            blocks = table_blocks(_grid(cells), self._header_rows)
        for block in blocks:
            self._add(block, linked=False)

    def _leave_heading(self, tag: str, anchor: str | None) -> None:
        text = squeeze("".join(self._text)).strip("#¶ ")
        self._text.clear()
        self._free = False
        if text:
            self._add(Block(kind="heading", text=text, level=_HEADINGS[tag], anchor=anchor), linked=False)

    def text(self, text: str) -> None:
        self._text.append(text)
        if not self._links_open and not text.isspace():
            self._free = True

    def flush(self) -> None:
        """End the paragraph in progress."""
        text = squeeze("".join(self._text)).replace("``", "")
        self._text.clear()
        linked, self._free = not self._free, False
        if not text or self._table is not None:
            return
        if self._lists or self._mark:
            level = max(0, len(self._lists) - 1)
            self._add(Block(kind="item", text=text, level=level, mark=self._mark or ""), linked=linked)
            self._mark = None
        else:
            self._add(Block(kind="prose", text=text), linked=linked)

    def _add(self, block: Block, *, linked: bool) -> None:
        if self._question and block.question is None and block.kind != "heading":
            block = replace(block, question=self._question)
        self.blocks.append(block)
        self.linked.append(linked)

    def _ask(self, question: str | None) -> None:
        """Begin a question, or end the one in progress. One that nothing answered is a paragraph."""
        waiting, self._question = self._question, question
        if waiting and waiting not in self._details and len(self.blocks) == self._asked_at:
            self._add(Block(kind="prose", text=waiting), linked=False)
        self._asked_at = len(self.blocks)
        self._free = False
