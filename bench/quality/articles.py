"""The evaluation data that more than one of the trials reads, and its two folds."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any, Literal

ARTICLE = 5  # XQuAD takes five paragraphs of each article


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one gzipped file of JSON lines, named without its endings. Raises FileNotFoundError."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def fold_of(passage: int) -> Literal["A", "B"]:
    """The fold of one of XQuAD's passages, by a hash of its article: what is chosen on A is judged on B."""
    return "B" if zlib.crc32(f"article {passage // ARTICLE}".encode()) & 1 else "A"
