"""How near the token counts are to what providers charged: `python -m bench.tokens` prints the table of
docs/reference/token-counting.md.

Compares every recorded chat of a collection (`--recordings`, default `../shared/fixtures/providers`) with what
`adapters/tokens` says of its request. One half of the recordings, by the hash of their names, is the one that numbers were
fitted on; the other was looked at afterwards.
"""

import argparse
import asyncio
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median

from bench.recorded_prompts import RecordedPrompt, read_recordings
from chatwright.adapters.tokens import TokenCounts, TokenEstimate, family_of, open_token_counts
from chatwright.domain.providers import Prompt, Turn

RECORDINGS = Path(__file__).parents[2] / "shared" / "fixtures" / "providers"
OPENAI = "https://api.openai.com/v1"
_MAKERS = {
    "gpt-oss*": "gpt-oss",
    "gpt-4*": "OpenAI, cl100k",
    "claude-3-*": "Claude 3",
    "claude-*": "Claude 4",
    "claude-opus-4-7*": "Claude 4.7 and later",
    "gemini-*": "Gemini",
    "deepseek-*": "DeepSeek",
    "grok-4": "Grok 4 (adds 690)",
    "grok-*": "Grok",
    "llama*": "Llama",
    "qwen*": "Qwen",
    "mistral*": "Mistral",
    "kimi*": "GLM, Kimi",
}
_WORDS = "Which of your plans includes telephone support at weekends, and what does it cost per month? "
Compared = tuple[RecordedPrompt, TokenEstimate]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, then speed and memory. Returns 1 if a bound does not hold, 2 without recordings."""
    parser = argparse.ArgumentParser(prog="python -m bench.tokens", description=__doc__)
    parser.add_argument("--recordings", type=Path, default=RECORDINGS, help="folder of recorded exchanges")
    parser.add_argument("--all", action="store_true", help="print each recording too")
    given = parser.parse_args(arguments)
    if not given.recordings.is_dir():
        print(f"no recordings at {given.recordings}: name their folder with --recordings", file=sys.stderr)
        return 2
    return asyncio.run(_run(given.recordings, each=given.all))


async def _run(folder: Path, *, each: bool) -> int:
    skipped: Counter[str] = Counter()
    makers: dict[str, list[Compared]] = {}
    before, began = _resident_mib(), time.perf_counter()
    async with open_token_counts() as counts:
        loaded_ms, grown = (time.perf_counter() - began) * 1000, _resident_mib() - before
        for recorded in read_recordings(folder):
            if recorded.skipped:
                skipped[recorded.skipped] += 1
                continue
            tokens = await counts.prompt(recorded.prompt)
            estimate = tokens.estimate(recorded.provider, recorded.model, base_url=OPENAI)
            makers.setdefault(_maker(recorded), []).append((recorded, estimate))
            if each:
                print(recorded.input_tokens, *estimate, recorded.model, recorded.id, sep="\t")
        broken = _print_table(makers)
        print("\nLeft out:", ", ".join(f"{reason} ({number})" for reason, number in skipped.most_common()))
        print(f"\nThe vocabulary o200k: loaded in {loaded_ms:.0f} ms, {grown:.0f} MiB more resident memory.")
        await _print_speed(counts)
    for recorded, estimate in broken:
        print(f"NOT BOUND: {recorded.id}: {recorded.input_tokens} tokens charged, {estimate}", file=sys.stderr)
    return 1 if broken else 0


def _print_table(makers: dict[str, list[Compared]]) -> list[Compared]:
    heads = ("Models", "Recordings", "unseen", "Error, text: mean", "worst", "unseen", "with tools: mean")
    print("|", " | ".join((*heads, "Bound / charged: least", "median")), "|")
    print("|", " | ".join(["---"] * 9), "|")
    broken: list[Compared] = []
    for maker in sorted(makers, key=lambda name: -len(makers[name])):
        compared = [(one, estimate) for one, estimate in makers[maker] if not _attached(one)]
        broken += [(one, estimate) for one, estimate in makers[maker] if estimate.bound < _charged(one)]
        if not compared:
            continue
        plain = [pair for pair in compared if not pair[0].prompt.options]
        unseen = [pair for pair in plain if pair[0].held_out]
        tooled = [pair for pair in compared if pair[0].prompt.options]
        bounds = [estimate.bound / _charged(one) for one, estimate in compared]
        print(
            f"| {maker} | {len(compared)} | {sum(one.held_out for one, _ in compared)} | {_errors(plain, mean)} "
            f"| {_errors(plain, max)} | {_errors(unseen, mean)} | {_errors(tooled, mean)} | {min(bounds):.2f} "
            f"| {median(bounds):.2f} |"
        )
    return broken


async def _print_speed(counts: TokenCounts) -> None:
    system = Turn("system", _WORDS * 8)
    for name, prompt in (
        ("a question behind a known system prompt", Prompt(turns=(system, Turn("user", _WORDS)))),
        ("200 tokens never seen", Prompt(turns=(Turn("user", _WORDS * 11),))),
        ("20,000 characters of English", Prompt(turns=(Turn("user", (_WORDS * 300)[:20_000]),))),
        ("20,000 characters of Chinese", Prompt(turns=(Turn("user", ("数据库的备份频率是多少？" * 2_000)[:20_000]),))),
    ):
        best = {"openai/gpt-4.1": float("inf"), "anthropic/claude-sonnet-4-5": float("inf")}
        for _ in range(200):
            for model, least_s in best.items():
                began = time.perf_counter()
                (await counts.prompt(prompt)).estimate(*model.split("/"), base_url=OPENAI)
                best[model] = min(least_s, time.perf_counter() - began)
        print(f"{name}:", ", ".join(f"{model} {best_s * 1e6:.0f} us" for model, best_s in best.items()))


def _maker(recorded: RecordedPrompt) -> str:
    family = family_of(recorded.provider, recorded.model)
    if family.vocabulary == "o200k_base" and "gpt-oss*" not in family.models:
        return "OpenAI, o200k"
    return next((_MAKERS[name] for name in family.models if name in _MAKERS), "others")


def _charged(recorded: RecordedPrompt) -> int:
    assert recorded.input_tokens is not None
    return recorded.input_tokens


def _attached(recorded: RecordedPrompt) -> bool:
    """Pictures and documents are bounded, not estimated."""
    parts = [part for turn in recorded.prompt.turns for part in (turn.extra or {}).get("content") or ()]
    return any(part.get("type") != "text" for part in parts)


def _errors(compared: Sequence[Compared], of: Callable[[list[float]], float]) -> str:
    errors = [abs(estimate.expected - _charged(one)) / max(50, _charged(one)) for one, estimate in compared]
    return f"{of(errors):.0%}" if errors else "–"


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
