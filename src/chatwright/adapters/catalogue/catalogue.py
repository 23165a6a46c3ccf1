"""The catalogue of models: what a model may be asked for, how much it takes, and what a call costs.

Joins the price book, this package's data files and the operator's `models.toml`; the file is read again when it
changes. One value per process, opened by `app/services.py`; flows ask it, rooms get what they need as arguments. An
unknown price is None, never 0.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog

from chatwright.adapters.catalogue.book import Book, open_book
from chatwright.adapters.catalogue.facts import Capability, ProviderFacts, read_families, read_providers
from chatwright.adapters.catalogue.overrides import NO_OVERRIDES, ModelsFileError, Overrides, read_overrides
from chatwright.adapters.catalogue.tariff import FREE_TARIFF, Tariff
from chatwright.domain.money import Nano
from chatwright.domain.providers import Usage

PriceSource = Literal["book", "override", "free", "unknown"]

_log = structlog.get_logger(__name__)
_AT_MOST_ENTRIES = 4096  # tenants write model names: what is remembered of them is bounded
_CHECK_EVERY_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model at one provider. `None` means not known. `tariff` is what it charges now, `source` who says so."""

    provider: str
    model: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    cheap: bool = False
    deprecated: bool = False
    source: PriceSource = "unknown"
    tariff: Tariff | None = None


class _Entry:
    """A remembered model: its tariff, and until when (seconds of the epoch) it may be believed."""

    __slots__ = ("facts", "tariff", "until_s")

    def __init__(self, facts: ModelFacts, until_s: float) -> None:
        self.facts = facts
        self.tariff = facts.tariff
        self.until_s = until_s


class Catalogue:
    """Look-ups are synchronous and take under a microsecond once a model is remembered."""

    def __init__(
        self, book: Book, overrides: Overrides = NO_OVERRIDES, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._book = book
        self._clock = clock
        self._providers = read_providers()
        self._families = read_families()
        self.adopt(overrides)

    def adopt(self, overrides: Overrides) -> None:
        """Let other overrides count from now on."""
        self._overrides = overrides
        self._entries: dict[tuple[str, str], _Entry] = {}
        self.revision = f"{self._book.revision} + {overrides.revision}" if overrides.revision else self._book.revision
        """Which prices these are, e.g. `genai-prices 0.2.3 + models.toml 1a2b3c4d`; stored beside each cost."""

    # Providers -------------------------------------------------------------------------------------------------------

    def provider(self, name: str) -> ProviderFacts | None:
        """Wire format, address and the like of a provider; None if there is none of that name."""
        return self._providers.get(name)

    def providers(self) -> Iterable[ProviderFacts]:
        """All providers."""
        return self._providers.values()

    def cheap_model(self, provider: str) -> str | None:
        """The provider's model for summaries and classification: the operator's choice, else the usual one."""
        facts = self._providers.get(provider)
        return self._overrides.cheap_model(provider) or (facts.cheap_model if facts else None) or None

    # Models ----------------------------------------------------------------------------------------------------------

    def model(self, provider: str, model: str) -> ModelFacts:
        """What is known of a model now."""
        return self._entry(provider, model).facts

    def price(self, provider: str, model: str, usage: Usage, *, at_s: float | None = None) -> Nano | None:
        """The exact cost of a call, rounded up to a nanodollar; None when no price is known.

        `usage` is a sane one. Prices are those of now, or of `at_s` (seconds of the epoch).
        """
        if at_s is None:
            tariff = self._entry(provider, model).tariff
        else:
            tariff = self.describe(provider, model, at_s=at_s).tariff
        return None if tariff is None else tariff.cost_nano(usage)

    def worst_case(self, provider: str, model: str, usage: Usage) -> Nano | None:
        """The most that a call with `usage.input_tokens` and at most `usage.output_tokens` can cost, to be reserved.

        No answer is longer than the model can make it. None when no price is known.
        """
        entry = self._entry(provider, model)
        if entry.tariff is None:
            return None
        longest = entry.facts.max_output_tokens
        output = usage.output_tokens if longest is None or usage.output_tokens <= longest else longest
        return entry.tariff.worst_nano(usage.input_tokens, output)

    def names(self, provider: str) -> list[str]:
        """The provider's models that somebody has written down, in order; it may well serve others."""
        facts = self._providers.get(provider)
        return sorted({*(self._book.names(facts) if facts else ()), *self._overrides.names(provider)})

    def describe(self, provider: str, model: str, *, at_s: float | None = None) -> ModelFacts:
        """What is known of a model, now or at `at_s`, without remembering it: for lists, and from any thread."""
        return self._look_up(provider, model, self._clock() if at_s is None else at_s, self._overrides).facts

    # Looking up ------------------------------------------------------------------------------------------------------

    def _entry(self, provider: str, model: str) -> _Entry:
        entry = self._entries.get((provider, model))
        now_s = self._clock()
        if entry is None or now_s >= entry.until_s:
            if len(self._entries) >= _AT_MOST_ENTRIES:
                self._entries = {}
            entry = self._entries[provider, model] = self._look_up(provider, model, now_s, self._overrides)
        return entry

    def _look_up(self, provider: str, model: str, at_s: float, overrides: Overrides) -> _Entry:
        seller = self._providers.get(provider) or ProviderFacts(name=provider, wire="openai", prices=provider)
        said = overrides.of(provider, model)
        like = next((one.like for one in said if one.like), model)
        listed = self._book.find(seller, like, at_s)
        family = self._families.of(like)
        tariff, source = (listed.tariff if listed else None), "book"
        if seller.free or tariff is FREE_TARIFF:
            tariff, source = FREE_TARIFF, "free"
        facts = ModelFacts(
            provider=provider,
            model=model,
            context_tokens=(listed.context_tokens if listed else None) or family.context_tokens,
            max_output_tokens=family.max_output_tokens,
            capabilities=frozenset(family.capabilities),
            cheap=family.cheap or like == seller.cheap_model,
            deprecated=listed is not None and listed.deprecated,
            source="unknown" if tariff is None else source,
            tariff=tariff,
        )
        for one in reversed(said):  # the strongest speaks last
            stated = {
                "context_tokens": one.context_tokens,
                "max_output_tokens": one.max_output_tokens,
                "capabilities": one.capabilities,
                "cheap": one.cheap,
                "tariff": one.tariff,
                "source": None if one.tariff is None else "free" if one.tariff is FREE_TARIFF else "override",
            }
            facts = replace(facts, **{name: value for name, value in stated.items() if value is not None})
        return _Entry(facts, float("inf") if listed is None else listed.until_s)


def load_catalogue(models_file: Path | None = None, *, clock: Callable[[], float] = time.time) -> Catalogue:
    """Load everything now; about 0.3 s, so call it off the event loop. Raises ModelsFileError."""
    catalogue = Catalogue(open_book(), clock=clock)
    if models_file is not None:
        catalogue.adopt(_read(models_file))
    return catalogue


@asynccontextmanager
async def open_catalogue(
    models_file: Path, *, must_exist: bool = False, check_every_s: float = _CHECK_EVERY_S
) -> AsyncGenerator[Catalogue]:
    """Load the catalogue and follow `models_file`, which need not be there unless it `must_exist`.

    Raises ModelsFileError when the file is wrong at the start; later a wrong file is logged and the old one counts.
    """
    if must_exist and not await asyncio.to_thread(models_file.is_file):
        raise ModelsFileError(f"there is no file {models_file}; make it, or name another in CHATWRIGHT_MODELS_FILE")
    stamp = await asyncio.to_thread(_stamp, models_file)
    catalogue = await asyncio.to_thread(load_catalogue, models_file)
    watcher = asyncio.create_task(_watch(catalogue, models_file, stamp, check_every_s), name="catalogue.watch")
    try:
        yield catalogue
    finally:
        watcher.cancel()
        await asyncio.wait({watcher})


async def _watch(catalogue: Catalogue, file: Path, stamp: object, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        found = await asyncio.to_thread(_stamp, file)
        if found == stamp:
            continue
        stamp = found
        try:
            overrides = await asyncio.to_thread(_read, file)
        except ModelsFileError as error:
            _log.error("models_file.refused", error=str(error), kept=catalogue.revision)
            continue
        catalogue.adopt(overrides)
        _log.info("models_file.read", file=str(file), models=len(overrides.tables), prices=catalogue.revision)


def _read(file: Path) -> Overrides:
    try:
        return read_overrides(file)
    except FileNotFoundError:
        return NO_OVERRIDES


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes with the file's content; None: it is not there, or cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
