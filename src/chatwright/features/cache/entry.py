"""One cached answer: its content, and where it came from. Both tiers keep it in this form.

Content is given again under new ids; provenance is for whoever inspects or purges, and never leaves with an answer.
"""

import msgspec

from chatwright.domain.providers import Finish, Source, Usage
from chatwright.domain.reading import Reading


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """`text` as visitors saw it, `sources` as they were shown. `usage` and `cost_nano` are what making it took (None: no
    price is known). `created_at` in seconds of the epoch. New fields go to the end and have a default: older entries
    are read without them."""

    text: str
    provider: str
    model: str
    finish: Finish
    usage: Usage
    cost_nano: int | None
    sources: tuple[Source, ...] = ()
    confidence: float | None = None
    grounding: float | None = None
    # Provenance.
    question: str = ""
    answer_id: str = ""
    document_ids: tuple[str, ...] = ()
    chunk_ids: tuple[str, ...] = ()
    revision: int = 0
    knowledge_version: int = 0
    created_at: float = 0.0
    reading: Reading | None = None
    """Of the question: whoever asks the same is read the same, and no model need run."""
    suggestions: tuple[dict[str, str], ...] = ()
    """All that its sources offer to ask or to open next; what of it goes out hangs on the conversation."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CachedAnswer)


def encode_entry(entry: CachedAnswer) -> bytes:
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> CachedAnswer | None:
    """None for bytes that another release wrote and this one cannot read."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return None
