"""The figures, one module each: `gateway`, `queued`, `streams`, `queue`. Each has `async def measure(stage)`."""
