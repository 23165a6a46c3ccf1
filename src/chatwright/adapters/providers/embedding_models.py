"""What is known of embedding models: the data file beside this module, read once. Used by `pipeline/embedding.py`."""

import re
import tomllib
from fnmatch import translate
from functools import lru_cache
from importlib.resources import files

import msgspec


class EmbeddingModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts that models with a common name share; see the head of the data file."""

    models: list[str] = []
    dimension: int | None = None
    shortens: bool = False
    max_tokens: int | None = None
    query: str = ""
    passage: str = ""
    texts: int = 16
    tokens: int = 8_000
    languages: list[str] = []
    providers: list[str] = []


_UNKNOWN = EmbeddingModel()


def embedding_model(name: str) -> EmbeddingModel:
    """What is known of the model of that name; nothing is claimed of one that no pattern fits."""
    plain = name.lower().rpartition("/")[2].partition(":")[0]
    for pattern, model in _models():
        if pattern.match(plain):
            return model
    return _UNKNOWN


def listed_embedding_models() -> list[tuple[str, str, EmbeddingModel]]:
    """(provider, model, facts) of each model that is offered by name."""
    return [(provider, model.models[0].rstrip("*"), model) for _, model in _models() for provider in model.providers]


@lru_cache(maxsize=1)
def _models() -> tuple[tuple[re.Pattern[str], EmbeddingModel], ...]:
    text = files("chatwright.adapters.providers").joinpath("embedding_models.toml").read_text("utf-8")
    listed = [msgspec.convert(table, EmbeddingModel) for table in tomllib.loads(text)["model"]]
    return tuple((re.compile("|".join(translate(pattern) for pattern in model.models)), model) for model in listed)
