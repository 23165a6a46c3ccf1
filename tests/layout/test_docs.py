"""The reference says everything there is: every setting, metric, error code, route and verb."""

import importlib
import pkgutil
import re
from pathlib import Path

import chatwright
from chatwright.app.cli import cli
from chatwright.app.settings import all_options, env_name
from chatwright.domain.errors import ChatwrightError
from chatwright.entrypoints.web import API_ENDPOINTS
from chatwright.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
REFERENCE = "\n".join(file.read_text("utf-8") for file in sorted((ROOT / "docs" / "reference").glob("*.md")))


def missing(words: list[str]) -> list[str]:
    """The words that do not stand in the reference by themselves."""
    return [word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", REFERENCE)]


def test_every_setting_is_described() -> None:
    assert missing([env_name(declared) for declared in all_options()]) == []


def test_every_metric_is_described() -> None:
    names = [family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()]
    assert len(names) > 10
    assert missing(names) == []


def test_every_error_code_is_described() -> None:
    for module in pkgutil.walk_packages(chatwright.__path__, "chatwright."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def leaves(kind: type[ChatwrightError]) -> set[str]:
        return {kind.code}.union(*(leaves(inner) for inner in kind.__subclasses__()))

    codes = leaves(ChatwrightError)
    assert len(codes) > 15
    assert missing(sorted(codes)) == []


def test_every_route_is_described() -> None:
    paths = sorted({re.sub(r"\{[^}]*\}", "{}", endpoint.path) for endpoint in API_ENDPOINTS})
    written = {re.sub(r"\{[^}]*\}", "{}", path) for path in re.findall(r"/(?:api/)?v1/[\w{}/.-]*[\w}]", REFERENCE)}
    assert [path for path in paths if path not in written] == []


def test_every_verb_is_described() -> None:
    verbs = [
        verb for verb in cli.list_commands(cli.make_context("chatwright", [], resilient_parsing=True)) if verb != "seed"
    ]
    assert missing([f"chatwright {verb}" for verb in verbs]) == []
