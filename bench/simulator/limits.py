"""Each key's requests and tokens: what is left of a limit, and how a provider's headers say it. Called by `server.py`."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.simulator.behaviour import Behaviour


@dataclass(slots=True)
class Bucket:
    """A token bucket: `spent` of the limit at `at_s`, coming back evenly over the window."""

    spent: float = 0.0
    at_s: float = 0.0

    def left(self, limit: int, window_s: float, now_s: float) -> float:
        """What is left now; below 0 when more was taken than there was."""
        self.spent = max(0.0, self.spent - (now_s - self.at_s) * limit / window_s)
        self.at_s = now_s
        return limit - self.spent


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit as headers state it. `reset_s`: until all of it is there again."""

    limit: int
    left: int
    reset_s: float


class Limits:
    """The buckets of all keys."""

    def __init__(self) -> None:
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}

    def take(
        self, key: str, behaviour: Behaviour, tokens: int, now_s: float
    ) -> tuple[float, Standing | None, Standing | None]:
        """Take one request and `tokens`. Returns (seconds to wait, 0.0 if let in; standing of requests; of tokens).

        Nothing is taken from `rpm` and `tpm` when the call is refused. Limits that are only stated refuse nothing.
        """
        rpm, tpm = _stated(behaviour)
        window_s = behaviour.window
        requests = self._requests.setdefault(key, Bucket())
        of_tokens = self._tokens.setdefault(key, Bucket())
        left = requests.left(rpm, window_s, now_s) if rpm else 0.0
        left_tokens = of_tokens.left(tpm, window_s, now_s) if tpm else 0.0
        wait_s = 0.0
        if behaviour.rpm and left < 1:
            wait_s = (1 - left) * window_s / rpm
        if behaviour.tpm and left_tokens < min(tokens, tpm):
            wait_s = max(wait_s, (min(tokens, tpm) - left_tokens) * window_s / tpm)
        if not wait_s:
            requests.spent += 1
            of_tokens.spent += tokens
            left, left_tokens = left - 1, left_tokens - tokens
        return wait_s, _standing(rpm, left, window_s), _standing(tpm, left_tokens, window_s)

    def spend(self, key: str, tokens: int) -> None:
        """Tokens of a completion, known only when it was written."""
        bucket = self._tokens.get(key)
        if bucket is not None:
            bucket.spent += tokens

    def clear(self) -> None:
        self._requests.clear()
        self._tokens.clear()


def _stated(behaviour: Behaviour) -> tuple[int, int]:
    requests, _, tokens = behaviour.limit_headers.partition("/")
    if not tokens:
        return behaviour.rpm, behaviour.tpm
    return behaviour.rpm or int(requests or 0), behaviour.tpm or int(tokens)


def _standing(limit: int, left: float, window_s: float) -> Standing | None:
    if not limit:
        return None
    left = min(float(limit), left)
    return Standing(limit, max(0, math.floor(left)), (limit - left) * window_s / limit)


def openai_headers(requests: Standing | None, tokens: Standing | None) -> bytes:
    """`x-ratelimit-*` with resets as durations."""
    lines: list[str] = []
    for name, standing in (("requests", requests), ("tokens", tokens)):
        if standing is not None:
            lines += [
                f"x-ratelimit-limit-{name}: {standing.limit}",
                f"x-ratelimit-remaining-{name}: {standing.left}",
                f"x-ratelimit-reset-{name}: {duration(standing.reset_s)}",
            ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def azure_headers(requests: Standing | None, tokens: Standing | None) -> bytes:
    """The same names with resets as bare seconds."""
    lines: list[str] = []
    for name, standing in (("requests", requests), ("tokens", tokens)):
        if standing is not None:
            lines += [
                f"x-ratelimit-limit-{name}: {standing.limit}",
                f"x-ratelimit-remaining-{name}: {standing.left}",
                f"x-ratelimit-reset-{name}: {math.ceil(standing.reset_s)}",
            ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def anthropic_headers(requests: Standing | None, tokens: Standing | None) -> bytes:
    """`anthropic-ratelimit-*` with resets as times; the token limit is stated whole and for input and output."""
    lines: list[str] = []
    for names, standing in ((("requests",), requests), (("tokens", "input-tokens", "output-tokens"), tokens)):
        if standing is not None:
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=math.ceil(standing.reset_s))
            for name in names:
                lines += [
                    f"anthropic-ratelimit-{name}-limit: {standing.limit}",
                    f"anthropic-ratelimit-{name}-remaining: {standing.left}",
                    f"anthropic-ratelimit-{name}-reset: {at:%Y-%m-%dT%H:%M:%SZ}",
                ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def duration(seconds: float) -> str:
    """As OpenAI writes one: `17ms`, `6s`, `1m2.5s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{shown}s" if minutes else f"{shown}s"
