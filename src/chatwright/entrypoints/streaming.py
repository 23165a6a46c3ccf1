"""Long replies: a companion task beside the one that writes, which notices a client that left and fills silences."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from chatwright.entrypoints.call import Call, ClientGone

Tick = Callable[[], Awaitable[None]]


@asynccontextmanager
async def watched(call: Call, *, every_s: float, tick: Tick) -> AsyncGenerator[None]:
    """Run the body while the client listens; `tick` is called every `every_s` seconds.

    When the client hangs up, or takes nothing for the send time-out, the body is cancelled and ClientGone is raised.
    """
    writer = asyncio.current_task()
    assert writer is not None
    left = False

    async def companion() -> None:
        nonlocal left
        while True:
            try:
                async with asyncio.timeout(every_s):
                    message = await call.receive()
            except TimeoutError:
                try:
                    await tick()
                    continue
                except ClientGone:
                    break
            if message["type"] == "http.disconnect":
                break
        left = True
        writer.cancel()

    task = asyncio.create_task(companion(), name=f"companion {call.request_id}")
    try:
        yield
    except asyncio.CancelledError:
        if left and writer.uncancel() == 0:  # ours, and nobody else cancelled us at the same time
            raise ClientGone from None
        raise
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen; a broken companion must not hide what the writer raised
