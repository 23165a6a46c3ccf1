"""OpenAI's published vocabularies, which come in the wheel `bpe-openai`: how many tokens a text has, exactly.

Owns the way into that wheel. Its Python side is passed by: importing the package builds dictionaries of both vocabularies
that nobody here asks (0.4 s and 68 MB a process), while its compiled half alone counts just as well (5 ms; 34 MB more
for o200k, 16 MB for cl100k, loaded when first needed). Used by `counts.py` only.
"""

import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "bpe_openai._bindings"
O200K, CL100K = "o200k_base", "cl100k_base"

Count = Callable[[str], int]


def load(encoding: str) -> Count:
    """A function that counts a text's tokens in `encoding`; 20 to 60 ms, so call it off the event loop.

    Lone surrogates are counted as the replacement character that is sent instead of them. Raises ImportError.
    """
    count: Count = _bindings().tokenizer_for_encoding(encoding).count

    def count_tokens(text: str) -> int:
        try:
            return count(text)
        except UnicodeEncodeError:
            return count(text.encode("utf-8", "replace").decode())

    return count_tokens


def _bindings() -> Any:
    """The compiled half of the wheel. It can be initialised once a process, so it is kept where imports look for it."""
    if MODULE in sys.modules:
        return sys.modules[MODULE]
    package = find_spec(MODULE.partition(".")[0])
    for folder in package.submodule_search_locations or () if package else ():
        for suffix in EXTENSION_SUFFIXES:
            file = Path(folder) / f"_bindings{suffix}"
            if file.is_file():
                return _execute(ExtensionFileLoader(MODULE, str(file)))
    raise ImportError("the wheel bpe-openai is not installed: install chatwright's dependencies again")


def _execute(loader: ExtensionFileLoader) -> ModuleType:
    spec = spec_from_loader(MODULE, loader)
    assert spec is not None
    module = sys.modules[MODULE] = module_from_spec(spec)
    loader.exec_module(module)
    return module
