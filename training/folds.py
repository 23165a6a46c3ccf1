"""Which rows of the data a model may be trained on. One rule for every set and every trainer.

Fold 0 is only reported on, fold 1 chooses thresholds and shapes, folds 2 to 4 train; a final fit may take 1 to 4.
"""

import hashlib

FOLDS = 5
REPORTED, CHOOSING = 0, 1
_READ = 200
"""Characters: longer texts that begin alike share a fold."""


def fold(text: str) -> int:
    """The fold of a text, 0..4: by its letters and digits alone, so that copies of other case or spacing go along."""
    letters = "".join(character for character in text.casefold() if character.isalnum())[:_READ]
    return hashlib.sha256(letters.encode("utf-8", "surrogatepass")).digest()[0] % FOLDS
