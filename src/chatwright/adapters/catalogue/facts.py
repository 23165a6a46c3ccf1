"""What is known of providers and models beside their prices: data files of this package, read once.

`providers.toml` names the providers that a chatbot may list; `families.toml` holds limits and capabilities that the
price book lacks. Called by `catalogue.py`.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from importlib.resources import files
from typing import Any, Literal

import msgspec

Wire = Literal["openai", "anthropic", "gemini", "vertex", "extractive"]
Capability = Literal["tools", "vision", "json", "reasoning", "embeddings"]


class ProviderFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider by the name that chains and keys use. Texts are empty where there is nothing to say."""

    name: str
    wire: Wire
    base_url: str = ""
    prices: str = ""
    key_env: str = ""
    cheap_model: str = ""
    free: bool = False


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts that models with a common name share."""

    models: list[str]
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: list[Capability] = []
    cheap: bool = False


UNKNOWN_FAMILY = Family(models=[])


@dataclass(frozen=True, slots=True)
class Families:
    """The families in order: the first that fits a name counts."""

    patterns: Sequence[tuple[re.Pattern[str], Family]]

    def of(self, model: str) -> Family:
        """The facts of a model; nothing is claimed of one that no pattern fits."""
        name = model.lower().rpartition("/")[2].replace(".", "-")
        for pattern, family in self.patterns:
            if pattern.match(name):
                return family
        return UNKNOWN_FAMILY


def read_providers() -> Mapping[str, ProviderFacts]:
    """The providers by name."""
    found = _data("providers.toml")
    return {name: msgspec.convert({**table, "name": name}, ProviderFacts) for name, table in found.items()}


def read_families() -> Families:
    """The families in the file's order."""
    listed = [msgspec.convert(table, Family) for table in _data("families.toml")["family"]]
    return Families(
        [(re.compile("|".join(translate(pattern) for pattern in family.models)), family) for family in listed]
    )


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(files("chatwright.adapters.catalogue").joinpath(name).read_text("utf-8"))
