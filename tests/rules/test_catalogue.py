"""The model catalogue: names found as the price book finds them, the operator's file, prices that change with time."""

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from chatwright.adapters.catalogue import Catalogue, ModelsFileError, load_catalogue, open_catalogue, read_overrides
from chatwright.adapters.catalogue.overrides import ModelTable
from chatwright.domain.money import NANO_PER_USD, nano_from_usd
from chatwright.domain.providers import Usage

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now_s = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now_s


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(text, "utf-8")
    return file


def with_file(tmp_path: Path, text: str) -> Catalogue:
    return load_catalogue(write(tmp_path, text))


# What the book and the package's own data say


@pytest.mark.parametrize(
    ("provider", "model", "same_as"),
    [
        ("openai", "gpt-4o-2024-08-06", ("openai", "gpt-4o")),
        ("azure", "gpt-4o-2024-08-06", ("openai", "gpt-4o")),
        ("azure", "gpt-4.1-mini", ("openai", "gpt-4.1-mini")),
        ("vertex", "publishers/google/models/gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("vertex", "google/gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("gemini", "models/gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("vertex", "claude-sonnet-4-5@20250929", ("anthropic", "claude-sonnet-4-5")),
        ("anthropic", "claude-haiku-5-5-20261007", ("anthropic", "claude-haiku-5-5")),
        ("openrouter", "anthropic/claude-haiku-4.5", ("anthropic", "claude-haiku-4-5")),
        ("OPENAI", "gpt-4o", None),
        ("openai", "gpt-4o-of-mine", None),
        ("openai", "", None),
        ("openai", "gpt-4o" + "x" * 10_000, None),
        ("azure", "my-deployment", None),
        ("huggingface", "Qwen/Qwen3.5-9B", None),  # the router chooses who serves it, and so the price
        ("somebody", "gpt-4o", None),
    ],
)
def test_names_are_found_as_the_price_book_finds_them(
    catalogue: Catalogue, provider: str, model: str, same_as: tuple[str, str] | None
) -> None:
    found = catalogue.price(provider, model, MILLION)
    if same_as is None:
        assert found is None
        assert catalogue.model(provider, model).source == "unknown"
    else:
        assert found is not None
        assert found == catalogue.price(*same_as, MILLION)
        assert catalogue.model(provider, model).source == "book"


def test_every_listed_model_costs_what_the_book_computes(catalogue: Catalogue) -> None:
    from genai_prices import Usage as BookUsage
    from genai_prices import calc_price

    usage = Usage(input_tokens=300_001, cached_tokens=1_003, cache_write_tokens=17, output_tokens=1_999)
    theirs = BookUsage(input_tokens=300_001, cache_read_tokens=1_003, cache_write_tokens=17, output_tokens=1_999)
    at = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
    wrong: list[str] = []
    priced = 0
    for provider in catalogue.providers():
        if not provider.prices or "*" in provider.prices:
            continue
        for name in catalogue.names(provider.name):
            found = calc_price(theirs, name, provider_id=provider.prices, genai_request_timestamp=at)
            cost = catalogue.price(provider.name, name, usage, at_s=at.timestamp())
            if cost is None or (cost == 0 and name.endswith(":free")):
                # The book computes 0 where it has no price per token of this kind.
                prices = vars(found.model_price)
                assert name.endswith(":free") or "input_mtok" not in prices or "output_mtok" not in prices, name
                continue
            priced += 1
            expected = nano_from_usd(found.total_price)
            if cost != expected or cost == 0:
                wrong.append(f"{provider.name}/{name}: {cost} instead of {expected}")
    assert wrong == []
    assert priced > 1000


def test_a_model_without_a_price_in_the_book_is_unknown_unless_its_name_says_free(catalogue: Catalogue) -> None:
    assert catalogue.price("gemini", "gemma-3-27b-it", MILLION) is None
    assert catalogue.price("openai", "whisper-1", MILLION) is None  # sold by the hour
    free = next(name for name in catalogue.names("openrouter") if name.endswith(":free"))
    assert catalogue.price("openrouter", free, MILLION) == 0
    assert catalogue.model("openrouter", free).source == "free"


def test_limits_and_capabilities_of_known_families(catalogue: Catalogue) -> None:
    mini = catalogue.model("openai", "gpt-4.1-mini")
    assert (mini.context_tokens, mini.max_output_tokens, mini.cheap) == (1_000_000, 32_768, True)
    assert mini.capabilities == {"tools", "vision", "json"}
    assert catalogue.model("openrouter", "anthropic/claude-haiku-4.5").max_output_tokens == 64_000
    assert catalogue.model("gemini", "gemini-2.0-flash-lite").max_output_tokens == 8_192
    assert catalogue.model("gemini", "gemini-2.5-pro").context_tokens == 1_048_576  # not in the book
    assert catalogue.model("openai", "gpt-5-pro").max_output_tokens == 272_000
    assert catalogue.model("openai", "text-embedding-3-small").capabilities == {"embeddings"}
    unknown = catalogue.model("openai", "no-such-model")
    assert (unknown.context_tokens, unknown.max_output_tokens, unknown.capabilities) == (None, None, frozenset())


def test_every_provider_is_complete(catalogue: Catalogue) -> None:
    for provider in catalogue.providers():
        own_address = provider.name in ("azure", "local", "extractive", "vertex")
        assert bool(provider.base_url) != own_address, provider.name
        assert not provider.base_url.endswith("/")
        assert provider.free or provider.prices, provider.name
        assert provider.prices == "" or catalogue.names(provider.name), provider.name
        if provider.cheap_model:
            cheap = catalogue.model(provider.name, provider.cheap_model)
            assert cheap.source == "book", provider.name
            assert not cheap.deprecated, provider.name
            assert cheap.cheap
            assert cheap.tariff is not None
            assert cheap.tariff.bands[0].rates.input_usd <= Decimal("0.5"), provider.name
    assert catalogue.provider("gpt") is None
    assert catalogue.cheap_model("gpt") is None
    assert catalogue.cheap_model("local") is None


def test_a_reservation_goes_no_further_than_the_model_can_write(catalogue: Catalogue) -> None:
    asked = Usage(input_tokens=1_000, output_tokens=1_000_000)
    longest = Usage(input_tokens=1_000, output_tokens=32_768)
    assert catalogue.worst_case("openai", "gpt-4.1-mini", asked) == catalogue.price("openai", "gpt-4.1-mini", longest)
    # A cache write is dearer than fresh input: the reservation must cover it.
    written = Usage(input_tokens=1_000, cache_write_tokens=1_000)
    assert catalogue.worst_case("anthropic", "claude-haiku-4-5", Usage(input_tokens=1_000)) == catalogue.price(
        "anthropic", "claude-haiku-4-5", written
    )


# Time


def test_a_dated_price_changes_at_its_hour_although_it_is_remembered() -> None:
    clock = Clock("2026-11-30T23:59:59")
    catalogue = load_catalogue(clock=clock)
    before = catalogue.price("gemini", "gemini-4-argon", MILLION)
    assert before == catalogue.price("gemini", "gemini-4-argon", MILLION) == 12 * NANO_PER_USD  # 2 in, 10 out
    clock.set("2026-12-01T00:00:00")
    assert catalogue.price("gemini", "gemini-4-argon", MILLION) == 24 * NANO_PER_USD
    at_s = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    assert catalogue.price("gemini", "gemini-4-argon", MILLION, at_s=at_s) == before


def test_a_price_of_the_night_ends_in_the_morning() -> None:
    clock = Clock("2025-07-01T00:29:59")
    catalogue = load_catalogue(clock=clock)
    seen: list[int | None] = []
    for moment in ("00:29:59", "00:30:00", "16:29:59", "16:30:00"):
        clock.set(f"2025-07-01T{moment}")
        seen.append(catalogue.price("deepseek", "deepseek-chat", MILLION))
    night, day = seen[0], seen[1]
    assert night is not None
    assert day is not None
    assert night < day
    assert seen == [night, day, day, night]


# The operator's file


def test_the_operators_price_counts_and_is_told(tmp_path: Path) -> None:
    catalogue = with_file(
        tmp_path,
        """
        [[model]]
        provider = "openai"
        model = "gpt-4.1-mini"
        input_usd_per_million = "0.30"
        cached_usd_per_million = "0.05"
        cache_write_usd_per_million = "0.40"
        output_usd_per_million = "1.5"
        request_usd = "0.000000001"
        """,
    )
    usage = Usage(
        input_tokens=3_000_000, cached_tokens=1_000_000, cache_write_tokens=1_000_000, output_tokens=1_000_000
    )
    assert catalogue.price("openai", "gpt-4.1-mini", usage) == 2_250_000_001
    facts = catalogue.model("openai", "gpt-4.1-mini")
    assert (facts.source, facts.max_output_tokens) == ("override", 32_768)
    assert catalogue.price("azure", "gpt-4.1-mini", MILLION) == 2 * NANO_PER_USD  # another provider's stays
    assert catalogue.revision.startswith("genai-prices ")
    assert " + models.toml " in catalogue.revision
    assert catalogue.revision != load_catalogue().revision


def test_without_prices_of_their_own_cached_tokens_cost_what_input_costs(tmp_path: Path) -> None:
    catalogue = with_file(
        tmp_path,
        """
        [[model]]
        provider = "openai"
        model = "own"
        input_usd_per_million = "1"
        output_usd_per_million = "2"
        """,
    )
    fresh = catalogue.price("openai", "own", Usage(input_tokens=100))
    assert fresh == catalogue.price("openai", "own", Usage(input_tokens=100, cached_tokens=60, cache_write_tokens=40))
    assert fresh == 100_000


def test_an_exact_name_goes_before_globs_and_facts_are_taken_where_they_are_stated(tmp_path: Path) -> None:
    catalogue = with_file(
        tmp_path,
        """
        [[model]]
        provider = "openai"
        model = "ft:*"
        input_usd_per_million = "9"
        output_usd_per_million = "9"
        max_output_tokens = 100

        [[model]]
        provider = "openai"
        model = "ft:GPT-4o-mini:acme"
        input_usd_per_million = "1"
        output_usd_per_million = "1"
        context_tokens = 4_000
        capabilities = ["tools"]

        [[model]]
        provider = "openai"
        model = "ft:gpt-*"
        free = true
        max_output_tokens = 200
        """,
    )
    exact = catalogue.model("openai", "ft:gpt-4o-mini:acme")
    assert catalogue.price("openai", "ft:gpt-4o-mini:acme", MILLION) == 2 * NANO_PER_USD
    assert (exact.context_tokens, exact.max_output_tokens, exact.capabilities) == (4_000, 100, {"tools"})
    assert catalogue.price("openai", "ft:gpt-4o:other", MILLION) == 18 * NANO_PER_USD  # the first glob
    assert catalogue.price("openai", "gpt-4o", MILLION) == 12_500_000_000  # no glob fits
    assert "ft:gpt-4o-mini:acme" in catalogue.names("openai")
    assert "ft:*" not in catalogue.names("openai")


def test_a_deployment_can_be_like_a_known_model(tmp_path: Path) -> None:
    catalogue = with_file(
        tmp_path,
        """
        [[model]]
        provider = "azure"
        model = "support-*"
        like = "gpt-4.1-mini"

        [[model]]
        provider = "azure"
        model = "support-cheap"
        input_usd_per_million = "0.1"
        output_usd_per_million = "0.1"
        cheap = true
        """,
    )
    like = catalogue.model("azure", "support-eu")
    assert (like.source, like.max_output_tokens, like.context_tokens) == ("book", 32_768, 1_000_000)
    assert catalogue.price("azure", "support-eu", MILLION) == 2 * NANO_PER_USD
    assert catalogue.price("azure", "support-cheap", MILLION) == 200_000_000
    assert catalogue.model("azure", "support-cheap").max_output_tokens == 32_768
    assert catalogue.cheap_model("azure") == "support-cheap"
    assert catalogue.cheap_model("openai") == "gpt-4.1-nano"


def test_a_tenants_own_server_can_be_given_a_price(tmp_path: Path) -> None:
    catalogue = with_file(
        tmp_path,
        """
        [[model]]
        provider = "gpu-box"
        model = "*"
        free = true
        """,
    )
    assert catalogue.price("gpu-box", "anything:8b", MILLION) == 0
    assert catalogue.model("gpu-box", "anything:8b").source == "free"
    assert catalogue.provider("gpu-box") is None


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            'modle = "x"',
            r"models\.toml: \[\[model\]\] 1 \(openai/x\): there is no field modle \(did you mean model\?\)",
        ),
        ("input_usd_per_million = 0.1", 'in quotes, "0.1"'),
        ('input_usd_per_million = "-1"', "no amount"),
        ('input_usd_per_million = "1e-3"', "no amount"),
        ('input_usd_per_million = "0,5"', "no amount"),
        ('input_usd_per_million = "0.0000000001"', "at most 9"),
        ('input_usd_per_million = "NaN"', "no amount"),
        ('output_usd_per_million = "1"', "needs input_usd_per_million"),
        ('free = true\noutput_usd_per_million = "1"', "cannot both hold"),
        ("context_tokens = 0", "context_tokens"),
        ("context_tokens = 1.5", "context_tokens"),
        ("max_output_tokens = -1", "max_output_tokens"),
        ('capabilities = ["telepathy"]', "capabilities"),
        ('free = "yes"', "free"),
        ("like = 4", "like"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, table: str, told: str) -> None:
    file = write(tmp_path, f'[[model]]\nprovider = "openai"\nmodel = "x"\n{table}\n')
    with pytest.raises(ModelsFileError, match=told):
        read_overrides(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[model]", "is no TOML"),
        ("[[models]]\n", "models is not known here"),
        ('[model]\nprovider = "openai"\n', "two brackets"),
        ("model = [1]", "is no table"),
        ('[[model]]\nprovider = "openai"\n', "model"),
        ('[[model]]\nprovider = ""\nmodel = "x"\n', "provider"),
        ("# " + "x" * 1_000_001, "more than 1,000,000 bytes"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ModelsFileError, match=told):
        read_overrides(write(tmp_path, text))


values = st.one_of(
    st.integers(-5, 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["true", "false", "nan", "[]", '["tools"]', '["tools", 1]', "{ a = 1 }", "1979-05-27", "[[[]]]"]),
    st.text("0123456789.-+eE xX*?[", max_size=20).map(lambda text: f'"{text}"'),
)
fields = st.sampled_from([*ModelTable.__struct_fields__, "other"])


@given(st.dictionaries(fields, values, max_size=6), st.binary(max_size=30))
def test_whatever_stands_in_the_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, str], rubbish: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "random.toml"
    lines = {"provider": '"openai"', "model": '"own"'} | table
    text = "[[model]]\n" + "\n".join(f"{name} = {value}" for name, value in lines.items())
    for raw in (text.encode(), rubbish, text.encode() + rubbish):
        file.write_bytes(raw)
        try:
            tables = read_overrides(file).tables
        except ModelsFileError as error:
            told = str(error)
        else:
            told = f"{file}: good"
            rates = [band.rates for one in tables if one.tariff for band in one.tariff.bands]
            assert all(one.input_usd >= 0 and (one.output_usd is None or one.output_usd >= 0) for one in rates)
        assert told.startswith(str(file))


# Reading it again


def one_price(usd: str) -> str:
    return f'[[model]]\nprovider = "openai"\nmodel = "own"\ninput_usd_per_million = "{usd}"\n'


async def until_price(catalogue: Catalogue, expected: int | None) -> None:
    async with asyncio.timeout(5):
        while catalogue.price("openai", "own", Usage(input_tokens=1_000_000)) != expected:
            await asyncio.sleep(0.01)


async def test_a_changed_file_counts_without_a_restart_and_a_broken_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    async with open_catalogue(file, check_every_s=0.02) as catalogue:
        await until_price(catalogue, None)  # not there yet: nothing is overridden
        file.write_text(one_price("1"), "utf-8")
        await until_price(catalogue, NANO_PER_USD)
        good = catalogue.revision
        with capture_logs() as logs:
            file.write_text("broken", "utf-8")
            async with asyncio.timeout(5):
                while not logs:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        assert [line["event"] for line in logs] == ["models_file.refused"]  # once, not at every look
        assert "is no TOML" in logs[0]["error"]
        assert catalogue.revision == good
        await until_price(catalogue, NANO_PER_USD)
        replacement = tmp_path / "new"
        replacement.write_text(one_price("2"), "utf-8")
        os.replace(replacement, file)
        await until_price(catalogue, 2 * NANO_PER_USD)
        assert catalogue.revision != good
        file.unlink()
        await until_price(catalogue, None)
        assert "models.toml" not in catalogue.revision
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "catalogue.watch"]


async def test_a_broken_or_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match="is no TOML"):
        async with open_catalogue(write(tmp_path, "broken")):
            pass
    with pytest.raises(ModelsFileError, match="there is no file"):
        async with open_catalogue(tmp_path / "elsewhere.toml", must_exist=True):
            pass


# The hot path


def test_what_is_remembered_is_bounded_and_quick() -> None:
    catalogue = load_catalogue()
    for number in range(5_000):
        catalogue.price("local", f"model-{number}", MILLION)
    assert len(catalogue._entries) <= 4_096
    usage = Usage(input_tokens=812, cached_tokens=100, output_tokens=214)
    best_s = min(_seconds(catalogue, usage) for _ in range(5))
    assert best_s < 10e-6, f"{best_s * 1e6:.2f} µs a price"  # 0.6 µs on a quiet machine; the goal is 2 µs


def _seconds(catalogue: Catalogue, usage: Usage, models: Sequence[str] = ("gpt-4.1-mini", "gpt-5.4")) -> float:
    started = time.perf_counter()
    for _ in range(2_000):
        for model in models:
            catalogue.price("openai", model, usage)
    return (time.perf_counter() - started) / (2_000 * len(models))
