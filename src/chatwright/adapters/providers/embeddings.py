"""The answer to an embeddings call, in no dialect: its vectors, or the error that it is. Used by the wire formats."""

from collections.abc import Callable, Sequence

import aiohttp

from chatwright.adapters.providers.base import Embeddings, Unreadable
from chatwright.adapters.providers.exchange import failed_answer, malformed, read_refusal, rest
from chatwright.adapters.providers.failures import read_failure
from chatwright.adapters.providers.transport import free
from chatwright.domain.providers import Route


async def embeddings_of(
    response: aiohttp.ClientResponse, route: Route, texts: Sequence[str], read: Callable[[bytes, int], Embeddings]
) -> Embeddings:
    """The vectors of an answer to an embeddings call, one a text. `read` raises Unreadable; this, ProviderError."""
    if response.status >= 400:
        raise failed_answer(await read_refusal(response, route), response, route, texts)
    try:
        data = await rest(response, route)
    finally:
        free(response)
    try:
        return read(data, len(texts))
    except Unreadable as error:
        failure = read_failure(data)
        # A body that is no error object is not shown: it may be megabytes of numbers.
        if failure.codes or (failure.message and data.lstrip()[:1] not in (b"{", b"[")):
            raise failed_answer(failure, response, route, texts) from error
        raise malformed(route, str(error)) from error
