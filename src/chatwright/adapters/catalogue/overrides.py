"""The operator's own prices and model facts: the TOML file `models.toml`, read and checked as a whole.

    [[model]]
    provider = "azure"
    model = "support-*"                  # a glob; a name without one goes before every glob
    like = "gpt-4.1-mini"                # all that is not said here is as for this model
    input_usd_per_million = "0.30"       # decimal strings: a float would not be exact
    output_usd_per_million = "1.20"

A file that says something that cannot be meant is refused as a whole: half of an operator's prices is no price list.
Called by `catalogue.py`, and by `chatwright models check`.
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import translate
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from chatwright.adapters.catalogue.facts import Capability
from chatwright.adapters.catalogue.tariff import FREE_TARIFF, Band, Rates, Tariff

_AT_MOST_BYTES = 1_000_000
_AMOUNT = re.compile(r"\d{1,6}(?:\.\d{1,9})?")
_WILD = re.compile(r"[*?\[]")

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Amount = str | int | float  # a float is refused below, with a better reason
Tokens = Annotated[int, Meta(ge=1, le=100_000_000)]


class ModelsFileError(ValueError):
    """`models.toml` cannot be meant as it stands; the message names file, table and mend."""


class ModelTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One [[model]] of the file."""

    provider: Name
    model: Name
    like: Name | None = None
    free: bool = False
    input_usd_per_million: Amount | None = None
    cached_usd_per_million: Amount | None = None
    cache_write_usd_per_million: Amount | None = None
    output_usd_per_million: Amount | None = None
    request_usd: Amount | None = None
    context_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    capabilities: frozenset[Capability] | None = None
    cheap: bool | None = None


_PRICES = (
    "input_usd_per_million",
    "cached_usd_per_million",
    "cache_write_usd_per_million",
    "output_usd_per_million",
    "request_usd",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What the operator says of the models that `pattern` fits; None: nothing. `tariff` stands for all prices."""

    provider: str
    model: str
    pattern: re.Pattern[str] | None
    like: str | None
    tariff: Tariff | None
    context_tokens: int | None
    max_output_tokens: int | None
    capabilities: frozenset[Capability] | None
    cheap: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The file's tables: exact names first, then globs, each in the file's order. `revision` is empty without them."""

    tables: Sequence[Override]
    revision: str

    def of(self, provider: str, model: str) -> list[Override]:
        """The tables that speak of a model, the strongest first."""
        name = model.lower()
        return [
            table
            for table in self.tables
            if table.provider == provider and (table.pattern.match(name) if table.pattern else table.model == name)
        ]

    def names(self, provider: str) -> list[str]:
        """The models that the file names without a glob."""
        return [table.model for table in self.tables if table.provider == provider and table.pattern is None]

    def providers(self) -> list[str]:
        """The providers that the file speaks of; one that is not ours is a server that chains name by its address."""
        return sorted({table.provider for table in self.tables})

    def cheap_model(self, provider: str) -> str | None:
        return next(
            (one.model for one in self.tables if one.provider == provider and one.cheap and not one.pattern), None
        )


NO_OVERRIDES = Overrides(tables=(), revision="")


def read_overrides(file: Path) -> Overrides:
    """Read and check the file. Raises ModelsFileError; FileNotFoundError when it is not there."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ModelsFileError(f"{file} cannot be read: {error.strerror}; mend its permissions or remove it") from error
    if len(raw) > _AT_MOST_BYTES:
        raise ModelsFileError(f"{file} has more than {_AT_MOST_BYTES:,} bytes; name models by globs")
    try:
        content = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelsFileError(f"{file} is no TOML: {error}") from error
    tables = content.pop("model", [])
    if content:
        raise ModelsFileError(f"{file}: {next(iter(content))} is not known here; each model is a table [[model]]")
    if not isinstance(tables, list):
        raise ModelsFileError(f"{file}: [model] is one table; write [[model]], with two brackets, for each model")
    found = [
        _override(table, f"{file}: [[model]] {number}") for number, table in enumerate(cast("list[Any]", tables), 1)
    ]
    if not found:
        return NO_OVERRIDES
    found.sort(key=lambda table: table.pattern is not None)
    return Overrides(tables=found, revision=f"{file.name} {hashlib.sha256(raw).hexdigest()[:8]}")


def _override(table: Any, where: str) -> Override:
    if not isinstance(table, dict):
        raise ModelsFileError(f"{where} is no table; write [[model]] above its fields")
    fields = cast("dict[str, Any]", table)
    if isinstance(fields.get("provider"), str) and isinstance(fields.get("model"), str):
        where = f"{where} ({fields['provider']}/{fields['model']})"
    known = ModelTable.__struct_fields__
    for name in fields:
        if name not in known:
            raise ModelsFileError(f"{where}: there is no field {name}{_did_you_mean(name, known)}")
    try:
        read = msgspec.convert(fields, ModelTable)
    except msgspec.ValidationError as error:
        raise ModelsFileError(f"{where}: {error}") from error
    name = read.model.lower()
    return Override(
        provider=read.provider,
        model=name,
        pattern=re.compile(translate(name)) if _WILD.search(name) else None,
        like=read.like,
        tariff=_tariff(read, fields, where),
        context_tokens=read.context_tokens,
        max_output_tokens=read.max_output_tokens,
        capabilities=read.capabilities,
        cheap=read.cheap,
    )


def _tariff(read: ModelTable, fields: Mapping[str, Any], where: str) -> Tariff | None:
    stated = {name: _amount(fields[name], f"{where}: {name}") for name in _PRICES if name in fields}
    if read.free:
        if stated:
            raise ModelsFileError(f"{where}: free = true and {next(iter(stated))} cannot both hold; remove one")
        return FREE_TARIFF
    if not stated:
        return None
    if "input_usd_per_million" not in stated:
        raise ModelsFileError(f"{where}: a price needs input_usd_per_million as well; a free model says free = true")
    rates = Rates(
        input_usd=stated["input_usd_per_million"],
        cached_usd=stated.get("cached_usd_per_million"),
        cache_write_usd=stated.get("cache_write_usd_per_million"),
        output_usd=stated.get("output_usd_per_million"),
        request_usd=stated.get("request_usd", Decimal(0)),
    )
    return Tariff((Band(above=0, rates=rates),))


def _amount(value: Any, where: str) -> Decimal:
    if isinstance(value, float):
        raise ModelsFileError(f'{where}: write the amount in quotes, "{value}": a float is not exact')
    text = str(value).strip()
    if not _AMOUNT.fullmatch(text):
        raise ModelsFileError(
            f'{where}: {text!r} is no amount in USD; write digits such as "0.15", at most 9 after the point'
        )
    return Decimal(text)


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
