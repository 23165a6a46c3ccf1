"""Models and prices as data: the price book, this package's own facts, and the operator's `models.toml`."""

from chatwright.adapters.catalogue.catalogue import Catalogue, ModelFacts, PriceSource, load_catalogue, open_catalogue
from chatwright.adapters.catalogue.facts import Capability, ProviderFacts, Wire, read_providers
from chatwright.adapters.catalogue.overrides import ModelsFileError, read_overrides
from chatwright.adapters.catalogue.tariff import Band, Rates, Tariff

__all__ = [
    "Band",
    "Capability",
    "Catalogue",
    "ModelFacts",
    "ModelsFileError",
    "PriceSource",
    "ProviderFacts",
    "Rates",
    "Tariff",
    "Wire",
    "load_catalogue",
    "open_catalogue",
    "read_overrides",
    "read_providers",
]
