"""Lua: loads BullMQ's scripts from its installed package, puts ours around them, and runs them by digest.

BullMQ's texts stay in BullMQ's package. Each becomes a Lua function whose parameters shadow KEYS and ARGV, so several
of them and our own fairness code run in one call: one round trip, one atomic step.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

Argument: TypeAlias = str | bytes | int | float


class Script:
    """One Lua text and its digest."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Redis, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run by digest; after a restart of the server the text is sent once more. Raises redis-py's errors."""
        try:
            return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self.text, len(keys), *keys, *arguments)

    def queue_on(self, pipe: "Pipeline", keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Put the call on a pipeline; see `run_all`."""
        pipe.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)


Call: TypeAlias = tuple[Script, Sequence[str], Sequence[Argument]]


async def run_all(client: Redis, calls: Sequence[Call]) -> list[Any]:
    """Run several scripts in one round trip and return their replies in order.

    If the server has lost the scripts, they are loaded and only the calls that did not run are sent again. Raises the
    first error among the replies.
    """
    if len(calls) == 1:
        script, keys, arguments = calls[0]
        return [await script.run(client, keys, arguments)]
    replies = await _pipeline(client, calls)
    missed = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if missed:
        for script in {calls[index][0] for index in missed}:
            await client.execute_command("SCRIPT LOAD", script.text)
        for index, reply in zip(missed, await _pipeline(client, [calls[i] for i in missed]), strict=True):
            replies[index] = reply
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def _pipeline(client: Redis, calls: Sequence[Call]) -> list[Any]:
    async with client.pipeline(transaction=False) as pipe:
        for script, keys, arguments in calls:
            script.queue_on(pipe, keys, arguments)
        return await pipe.execute(raise_on_error=False)


@cache
def bullmq_text(name: str) -> str:
    """BullMQ's script of this name. Raises RuntimeError if the installed package has no such script."""
    for entry in (files("bullmq") / "commands").iterdir():
        stem, _, keys = entry.name.rpartition("-")
        if stem == name and keys.endswith(".lua"):
            return entry.read_text("utf-8")
    raise RuntimeError(f"the installed bullmq package has no script {name!r}")


@cache
def load(name: str) -> Script:
    """Our script `name`, with what it needs around it."""
    return Script("".join(_parts(name)))


@cache
def stock(name: str) -> Script:
    """BullMQ's script `name` as it is."""
    return Script(bullmq_text(name))


_NEEDS: dict[str, tuple[str, ...]] = {
    "add": ("addPrioritizedJob", "addDelayedJob"),
    "cycle": ("moveToActive", "moveToFinished", "moveToDelayed"),
    "remove": ("removeJob",),
}
_FUNCTION = {
    "addPrioritizedJob": "add_prioritized",
    "addDelayedJob": "add_delayed",
    "moveToActive": "move_to_active",
    "moveToFinished": "move_to_finished",
    "moveToDelayed": "move_to_delayed",
    "removeJob": "remove_job",
}


def _parts(name: str) -> list[str]:
    lua = files("chatwright.adapters.queue") / "lua"
    parts = [
        f"local function {_FUNCTION[needed]}(KEYS, ARGV)\n{bullmq_text(needed)}\nend\n"
        for needed in _NEEDS.get(name, ())
    ]
    if parts:
        parts.append((lua / "fair.lua").read_text("utf-8"))
    parts.append((lua / f"{name}.lua").read_text("utf-8"))
    return parts


pack = msgspec.msgpack.Encoder().encode


def base_key(prefix: str, queue: str) -> str:
    """What every key of a queue starts with."""
    return f"{prefix}:{queue}:"
