"""What a request's headers ask of the answer caches. Read by the routes that ask for answers."""

from typing import Any

from chatwright.entrypoints.call import Call
from chatwright.features.cache import CacheMode, mode_word, requested_mode
from chatwright.pipeline.caching import ASKED


def cache_mode(call: Call) -> CacheMode | None:
    """The mode that `x-chatwright-cache`, or else `Cache-Control`, asks for; None where neither does. Raises BadRequest."""
    return requested_mode(call.header(b"cache-control"), call.header(b"x-chatwright-cache"))


def cache_metadata(call: Call) -> dict[str, Any]:
    """The same as a field of a message's metadata: its answer is made elsewhere."""
    mode = cache_mode(call)
    return {} if mode is None else {ASKED: mode_word(mode)}
