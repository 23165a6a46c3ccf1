"""Every option: name, type, unit, default, meaning and how to switch it off. `settings.py` reads them."""

# ruff: noqa: RUF009 - `option` only calls dataclasses.field

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal

from chatwright.domain.errors import ChatwrightError

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
UnknownPrices = Literal["refuse", "flag"]


class SettingsError(ChatwrightError):
    """An option is unknown or its value cannot be meant; the message names the option and the mend."""

    code = "settings"


def option(
    default: Any = MISSING,
    *,
    about: str,
    env: str | None = None,
    unit: str = "",
    mask: Literal["no", "all", "url"] = "no",
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare one option. `mask` "all" hides the value, "url" hides the password inside it."""
    metadata = {"about": about, "env": env, "unit": unit, "mask": mask, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata, repr=mask == "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective options of one process."""

    # Where things are ---------------------------------------------------------------------------------------------
    data_dir: Path = option(
        Path(".chatwright"), about="Folder of the embedded servers, credentials.json, chatwright.toml and stored files."
    )
    database_url: str = option(
        "",
        env="DATABASE_URL",
        mask="url",
        about="PostgreSQL 16 or newer with pgvector. Empty: `up` starts the embedded server.",
    )
    redis_url: str = option(
        "",
        env="REDIS_URL",
        mask="url",
        about="Valkey or Redis 7 or newer, maxmemory-policy noeviction. Empty: `up` starts the embedded server.",
    )
    s3_url: str = option(
        "",
        env="S3_URL",
        mask="url",
        about="Where original files are kept: s3://bucket/prefix (with the usual AWS_* variables), gs://…, az://… "
        "or file:///folder. Empty: files/ in the data folder.",
    )

    # The API ------------------------------------------------------------------------------------------------------
    host: str = option("127.0.0.1", about="Address the API listens on; 0.0.0.0 for every interface.")
    port: int = option(8080, minimum=0, maximum=65535, about="Port of the API; 0 takes any free one (printed).")
    public_url: str = option("", about="Address under which visitors reach the API. Empty: http://<host>:<port>.")
    backlog: int = option(1024, minimum=16, about="Connections that may wait to be accepted.")
    widget_dir: str = option("", about="Folder of the built widget. Empty: the files that the package brings.")
    ws_ping_s: float = option(
        20.0, unit="s", minimum=1, about="Interval of WebSocket pings; a peer silent for two of them is dropped."
    )
    ws_max_kib: int = option(64, unit="KiB", minimum=4, about="Largest WebSocket frame a client may send.")
    body_timeout_s: float = option(30.0, unit="s", minimum=1, about="For a request's whole body to come in.")
    send_timeout_s: float = option(
        10.0, unit="s", minimum=0.5, about="A reader of a stream that takes nothing for so long is cut off."
    )
    drain_s: float = option(
        8.0, unit="s", minimum=0, maximum=60, about="How long a stopping process waits for running answers."
    )

    # The worker ---------------------------------------------------------------------------------------------------
    worker_name: str = option("", about="Name in health and metrics. Empty: <host>-<pid>.")
    worker_concurrency: int = option(32, minimum=1, maximum=1000, about="Jobs one worker process runs at once.")
    worker_high_reserve: int = option(8, minimum=0, about="Slots of these that only urgent chat messages may take.")
    tenant_in_flight: int = option(
        16, minimum=0, about="Jobs of one tenant that one worker runs at once. 0: no cap (one tenant may take all)."
    )

    # Pools and time-outs ------------------------------------------------------------------------------------------
    postgres_min_connections: int = option(2, minimum=0, about="Connections per pool kept open; two pools a process.")
    postgres_max_connections: int = option(12, minimum=1, about="Connections per pool at most; two pools a process.")
    postgres_command_timeout_s: float = option(10.0, unit="s", minimum=0.1, about="Longest statement.")
    postgres_acquire_timeout_s: float = option(5.0, unit="s", minimum=0.1, about="Longest wait for a connection.")
    provider_connect_timeout_s: float = option(5.0, unit="s", minimum=0.1, about="Connecting to a provider.")
    provider_first_byte_timeout_s: float = option(
        30.0, unit="s", minimum=0.1, about="From the request's end to the provider's first byte."
    )
    provider_idle_timeout_s: float = option(
        20.0, unit="s", minimum=0.1, about="Longest silence inside a provider's stream."
    )

    # Answers ------------------------------------------------------------------------------------------------------
    answer_deadline_s: float = option(
        60.0, unit="s", minimum=1, about="One answer in all: attempts, providers and restarts together."
    )
    max_provider_calls: int = option(3, minimum=1, maximum=20, about="Provider calls one answer may cost in all.")
    max_text_chars: int = option(32_000, minimum=1, about="Longest visitor message, in characters.")
    context_messages: int = option(
        10, minimum=0, maximum=200, about="Latest messages that prompts repeat word for word. 0: none, nor a summary."
    )
    summary_every: int = option(
        10, minimum=1, maximum=100, about="So many messages more, and the older ones go into the summary together."
    )
    summary_tokens: int = option(
        600,
        unit="tokens",
        minimum=0,
        maximum=8_000,
        about="Room of a conversation's summary in its prompts. 0: messages beyond the latest are forgotten.",
    )
    cache_memory_mib: int = option(
        64,
        unit="MiB",
        minimum=0,
        maximum=1 << 16,
        about="What answers kept for the same question may take in Valkey, over all tenants. 0: the caches are off.",
    )
    cache_wait_s: float = option(
        20.0,
        unit="s",
        minimum=0,
        maximum=300,
        about="Of equal questions at once one asks the provider; how long the others wait for its answer. 0: each asks.",
    )
    coalesce_ms: int = option(
        30, unit="ms", minimum=0, maximum=1000, about="Deltas that arrive within this time share a frame. 0: off."
    )
    stream_cap: int = option(4096, minimum=64, about="Events kept per conversation for clients that resume.")
    stream_lifetime_s: int = option(900, unit="s", minimum=30, about="How long these are kept after the last one.")
    wait_timeout_s: float = option(75.0, unit="s", minimum=1, about="Longest `?wait=true`.")
    lease_s: float = option(
        5.0, unit="s", minimum=1, about="A job whose worker shows no life this long is given to another."
    )
    idempotency_hours: int = option(24, unit="h", minimum=24, about="How long idempotency keys are remembered.")

    # Knowledge ----------------------------------------------------------------------------------------------------
    room_tokens: int = option(
        6_000, unit="tokens", minimum=500, about="Room of one prompt for persona, history, knowledge and question."
    )
    knowledge_top_k: int = option(5, minimum=1, maximum=50, about="Passages given to a provider at most.")
    relevance_threshold: float = option(
        0.7, minimum=0, maximum=1, about="Relevance below which a passage is no source. 0: every passage counts."
    )
    embedder: str = option(
        "minilm-l6-v2-int8", about="Embedder of new knowledge bases: a local model, or `provider/model`."
    )
    embedder_threads: int = option(
        0, minimum=0, maximum=64, about="Threads of the local embedder. 0: one per processor, at most two."
    )

    index_memory_mib: int = option(
        2048,
        unit="MiB",
        minimum=16,
        maximum=1 << 20,
        about="What PostgreSQL may take while it makes the index of a large knowledge base. More chunks than fit take long.",
    )
    document_max_mib: int = option(
        50, unit="MiB", minimum=1, maximum=4096, about="Largest file or page; files of one request together as well."
    )
    page_timeout_s: float = option(
        30.0, unit="s", minimum=1, maximum=200, about="For one page of the web, with redirects and all of its body."
    )
    web_user_agent: str = option(
        "chatwright", about="How the web is asked for pages; robots.txt is read for its first word."
    )
    robots_txt: bool = option(True, about="Whether robots.txt is kept to. Switch it off for sites of your own only.")
    crawl_max_pages: int = option(
        500, minimum=1, maximum=50_000, about="Pages that one sitemap or site brings at most."
    )
    crawl_delay_s: float = option(
        0.5, unit="s", minimum=0, maximum=60, about="Pause between pages of one host; robots.txt may ask for more."
    )

    # Imports ------------------------------------------------------------------------------------------------------
    import_max_mib: int = option(
        8192, unit="MiB", minimum=1, maximum=1 << 20, about="Largest file of conversations, unpacked."
    )
    import_batch_rows: int = option(
        100,
        minimum=1,
        maximum=2_000,
        about="Rows of an import that are read by the local model, and stored, together; five times as many where none is.",
    )
    import_batches_at_once: int = option(
        5, minimum=1, maximum=32, about="Batches of one import, or summaries by a model, under way at the same time."
    )

    # Providers ----------------------------------------------------------------------------------------------------
    openai_api_key: str = option(
        "", env="OPENAI_API_KEY", mask="all", about="The platform's key for `openai`. Empty with no base URL: off."
    )
    openai_base_url: str = option(
        "",
        env="OPENAI_BASE_URL",
        about="A gateway or simulator in place of OpenAI, with its /v1. Empty: OpenAI itself.",
    )
    openai_model: str = option("gpt-4o-mini", about="Model of `openai` where a chatbot names none (the demo's).")
    anthropic_api_key: str = option(
        "",
        env="ANTHROPIC_API_KEY",
        mask="all",
        about="The platform's key for `anthropic`. Empty with no base URL: off.",
    )
    anthropic_base_url: str = option(
        "", env="ANTHROPIC_BASE_URL", about="A gateway in place of Anthropic, without /v1. Empty: Anthropic itself."
    )
    anthropic_model: str = option("claude-haiku-4-5", about="Model of `anthropic` where a chatbot names none.")
    gemini_api_key: str = option(
        "", env="GEMINI_API_KEY", mask="all", about="The platform's key for `gemini`. Empty with no base URL: off."
    )
    gemini_base_url: str = option(
        "", env="GEMINI_BASE_URL", about="A gateway in place of the Gemini API, with its /v1beta. Empty: Google itself."
    )
    gemini_model: str = option("gemini-2.5-flash", about="Model of `gemini` where a chatbot names none.")
    google_cloud_project: str = option(
        "", env="GOOGLE_CLOUD_PROJECT", about="Project that `vertex` calls run in. Empty: `vertex` is off."
    )
    google_cloud_location: str = option(
        "global", env="GOOGLE_CLOUD_LOCATION", about="Location of `vertex`, e.g. europe-west4; `global`: any."
    )
    google_application_credentials: str = option(
        "",
        env="GOOGLE_APPLICATION_CREDENTIALS",
        about="Service account file of `vertex`. Empty: Application Default Credentials of this machine.",
    )
    vertex_base_url: str = option(
        "", env="VERTEX_BASE_URL", about="A gateway in place of Vertex AI, without /v1. Empty: Google itself."
    )
    vertex_model: str = option("gemini-2.5-flash", about="Model of `vertex` where a chatbot names none.")
    azure_openai_api_key: str = option(
        "", env="AZURE_OPENAI_API_KEY", mask="all", about="The platform's key for `azure`. Empty: off."
    )
    azure_openai_endpoint: str = option(
        "", env="AZURE_OPENAI_ENDPOINT", about="https://<resource>.openai.azure.com of `azure`. Empty: off."
    )
    local_base_url: str = option(
        "",
        about="Own OpenAI-compatible server of `local`, with its /v1 (Ollama, vLLM, llama.cpp); costs 0. Empty: off.",
    )
    local_model: str = option("", about="Model of `local` where a chatbot names none. Empty: chatbots must name one.")
    cheap_model: str = option(
        "",
        about="`provider/model` for summaries and classification. Empty: the cheap one of a chatbot's first provider.",
    )
    models_file: str = option(
        "", about="TOML file with the operator's own prices and model facts. Empty: models.toml in the data folder."
    )
    unknown_prices: UnknownPrices = option(
        "refuse", about="refuse: a model without a known price is not called. flag: it is, its cost stays unknown."
    )
    provider_limits: tuple[str, ...] = option(
        (),
        about="Limits of the platform's keys, `provider=requests/tokens` a minute, 0: none, e.g. openai=3000/90000. "
        "Empty: what the providers' answers say.",
    )
    provider_patience_s: float = option(
        5.0,
        unit="s",
        minimum=0,
        maximum=30,
        about="Longest wait that a provider may ask for before the next one is asked.",
    )
    hedging: bool = option(
        False,
        about="Ask the next provider too when the first is slower than it is in 95 % of calls; costs double then.",
    )
    key_encryption_keys: str = option(
        "",
        mask="all",
        about="`id:base64` of 32 bytes, several joined by commas, the newest first; seals provider keys. "
        "Empty: the file keys/kek.json in the data folder.",
    )
    allowed_addresses: tuple[str, ...] = option(
        (),
        about="Host names, addresses and networks that tenants' provider URLs may reach although they are private, "
        "e.g. ollama.lan,10.1.0.0/16. Empty: public addresses only.",
    )

    # Alerts -------------------------------------------------------------------------------------------------------
    smtp_url: str = option(
        "",
        mask="url",
        about="Mail server for alerts by e-mail, smtp[s]://user:password@host:port. Empty: no e-mail.",
    )
    smtp_from: str = option(
        "", about="Address that mails come from. Empty: the user of smtp_url, or chatwright@ its host."
    )

    # Guard --------------------------------------------------------------------------------------------------------
    guard_log_days: int = option(
        30,
        unit="days",
        minimum=1,
        maximum=3650,
        about="How long the guard's log keeps what it found, with its excerpts.",
    )

    # Everything else ----------------------------------------------------------------------------------------------
    demo: bool = option(True, about="Whether `up` makes the demo tenant and chatbot. `--no-demo` switches it off.")
    log_level: LogLevel = option("info", about="Least loud line that is written.")
    log_format: LogFormat = option("auto", about="json, console (coloured), or auto: console on a terminal, else json.")
