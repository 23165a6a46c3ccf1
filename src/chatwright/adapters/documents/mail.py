"""E-mail (EML) as blocks: the message's own text, without what it quotes. Used by `reading`."""

import re
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from chatwright.adapters.documents.blocks import clean, squeeze
from chatwright.adapters.documents.encoding import decode
from chatwright.adapters.documents.html import html_blocks
from chatwright.adapters.documents.limits import Notes
from chatwright.adapters.documents.markup import plain_blocks
from chatwright.domain.documents import Block
from chatwright.domain.errors import Unprocessable

_QUOTED = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
_SIGNATURE = re.compile(r"\n-- \n.{0,2000}\Z", re.DOTALL)
_MAX_PARTS = 1_000


def mail_blocks(path: Path, notes: Notes) -> Iterator[Block]:
    """Blocks of a message; its subject is the title. Attachments are named in a warning. Raises Unprocessable."""
    with path.open("rb") as file:
        message = BytesParser(EmailMessage, policy=policy.default).parse(file)
    if not message.keys():
        raise Unprocessable("the file is no e-mail message: it has no headers")
    notes.title = squeeze(clean(_header(message, "subject")))
    notes.set_language(_header(message, "content-language"))
    if message.get_content_type() in {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}:
        raise Unprocessable("the message is encrypted; save a copy of its text")
    rich, plain = (_body(message, kind) for kind in ("html", "plain"))
    for attachment in _attachments(message):
        notes.warn(f"the attachment {attachment} was left out; add it as a document of its own")
    blocks = list(html_blocks(rich, fragment=True)) if rich else []
    if not blocks and plain:
        blocks = list(plain_blocks(_SIGNATURE.sub("\n", _QUOTED.sub("", plain))))
    yield from blocks


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except (ValueError, TypeError, IndexError, AttributeError):  # the standard library stumbles over odd headers
        return ""


def _body(message: EmailMessage, kind: str) -> str:
    try:
        part = message.get_body((kind,))
    except (KeyError, AttributeError):
        return ""
    payload = part.get_payload(decode=True) if part is not None else None
    if part is None or not isinstance(payload, bytes):
        return ""
    charset = part.get_content_charset()
    return clean(decode(payload, declared=charset)[0]) if payload.strip() else ""


def _attachments(message: EmailMessage) -> Iterator[str]:
    for number, part in enumerate(message.walk()):
        if number >= _MAX_PARTS:
            raise Unprocessable(f"the message has more than {_MAX_PARTS:,} parts")
        try:
            name = part.get_filename()
        except (ValueError, TypeError, IndexError, AttributeError):
            name = "without a readable name"
        if name:
            yield squeeze(clean(str(name)))[:120]
