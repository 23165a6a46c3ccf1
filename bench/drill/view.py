"""A conversation as its client sees it from the stream of events. Pure; fed by both kinds of client."""

import asyncio
from collections.abc import Mapping
from typing import Any

from bench.drill.evidence import TERMINAL, Sent


class View:
    """Takes events in, keeps the text of each answer as a page would show it, and writes ends into the `Sent`s."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.doubled = 0
        self.changed = asyncio.Event()
        """Set by every event; whoever waits clears it."""
        self._texts: dict[str, str] = {}
        self._traces: dict[str, list[str]] = {}
        self._ended: dict[str, tuple[str, str | None, str | None]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """One event, in the order of arrival."""
        kind, message_id, seq = event["type"], event.get("message_id"), event.get("seq", 0)
        if seq:
            if seq <= self.last_seq and kind != "message_replace":
                self.doubled += 1
                return
            self.last_seq = max(self.last_seq, seq)
        if message_id is None:
            return
        trace = self._traces.setdefault(message_id, [])
        trace.append(
            f"{seq} {kind.removeprefix('stream_')}{'' if kind != 'stream_chunk' else ' ' + str(len(event['chunk']))}"
        )
        match kind:
            case "stream_start":
                self._texts.setdefault(message_id, "")
            case "stream_chunk":
                self._texts[message_id] = self._texts.get(message_id, "") + event["chunk"]
            case "stream_reset":
                self._texts[message_id] = ""
            case "message_replace":
                self._texts[message_id] = event["text"]
                if event["state"] in TERMINAL:
                    self._end(message_id, event["state"], event["text"])
            case "stream_complete":
                self._end(message_id, event.get("state", "answered"), event.get("text"))
            case "stream_error":
                self._end(message_id, event.get("state", "failed"), None)
            case _:
                pass
        self.changed.set()

    def _end(self, message_id: str, state: str, told: str | None) -> None:
        self._ended.setdefault(message_id, (state, self._texts.get(message_id), told))

    def settle(self, sent: Sent) -> bool:
        """Write into `sent` how its message ended, if that is known."""
        for message_id in sent.acknowledged:
            sent.trace = self._traces.get(message_id, [])
            if message_id in self._ended:
                sent.ended, sent.streamed, sent.told = self._ended[message_id]
                return True
        return False
