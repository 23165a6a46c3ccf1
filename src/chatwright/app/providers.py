"""The providers that the operator set up for everybody, out of the settings, and the wire formats of this process."""

from collections.abc import Mapping

from chatwright.adapters.catalogue import Catalogue
from chatwright.adapters.providers.anthropic import Anthropic
from chatwright.adapters.providers.base import WireFormat
from chatwright.adapters.providers.extractive import Extractive
from chatwright.adapters.providers.gemini import Gemini, vertex_base_url
from chatwright.adapters.providers.google_tokens import GoogleTokens
from chatwright.adapters.providers.http import HttpClients
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.app.options import Settings, SettingsError
from chatwright.domain.errors import BadRequest
from chatwright.features.routing import KeyLimits
from chatwright.pipeline.services import PlatformProvider


def wire_formats(http: HttpClients, tokens: GoogleTokens) -> dict[str, WireFormat]:
    """By the name that `catalogue.provider(…).wire` and `PlatformProvider.wire` use."""
    return {
        "openai": OpenAiChat(http),
        "anthropic": Anthropic(http),
        "gemini": Gemini(http),
        "vertex": Gemini(http, tokens=tokens),
        "extractive": Extractive(),
    }


def platform_providers(settings: Settings, catalogue: Catalogue) -> dict[str, PlatformProvider]:
    """A provider is there once it has a key or an address of its own. A key lives in this process's memory and nowhere
    else. Raises SettingsError for limits that cannot be read."""
    limits = provider_limits(settings)
    found = {"extractive": PlatformProvider(wire="extractive", base_url="", default_model="extractive")}

    def add(name: str, base_url: str, api_key: str, model: str) -> None:
        known = catalogue.provider(name)
        address = (base_url or (known.base_url if known else "") or "").rstrip("/")
        found[name] = PlatformProvider(
            wire=known.wire if known else "openai",
            base_url=address,
            api_key=api_key or None,
            default_model=model,
            limits=limits.get(name, KeyLimits()),
        )

    if settings.openai_api_key or settings.openai_base_url:
        add("openai", settings.openai_base_url, settings.openai_api_key, settings.openai_model)
    if settings.anthropic_api_key or settings.anthropic_base_url:
        add("anthropic", settings.anthropic_base_url, settings.anthropic_api_key, settings.anthropic_model)
    if settings.gemini_api_key or settings.gemini_base_url:
        add("gemini", settings.gemini_base_url, settings.gemini_api_key, settings.gemini_model)
    if settings.google_cloud_project:
        try:
            address = vertex_base_url(
                settings.google_cloud_project, settings.google_cloud_location, settings.vertex_base_url
            )
        except BadRequest as error:
            raise SettingsError(f"GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION: {error.message}") from error
        add("vertex", address, "", settings.vertex_model)
    if settings.azure_openai_endpoint:
        add("azure", settings.azure_openai_endpoint, settings.azure_openai_api_key, "")
    if settings.local_base_url:
        add("local", settings.local_base_url, "", settings.local_model)
    unknown = sorted(name for name in limits if name not in found and catalogue.provider(name) is None)
    if unknown:
        raise SettingsError(f"CHATWRIGHT_PROVIDER_LIMITS names {', '.join(unknown)}, which is no provider")
    return found


def provider_limits(settings: Settings) -> Mapping[str, KeyLimits]:
    """The limits of the platform's keys by provider. Raises SettingsError."""
    found: dict[str, KeyLimits] = {}
    for text in settings.provider_limits:
        name, _, rest = text.partition("=")
        requests, _, tokens = rest.partition("/")
        try:
            found[name.strip()] = KeyLimits(requests_per_minute=int(requests or 0), tokens_per_minute=int(tokens or 0))
        except ValueError:
            raise SettingsError(
                f"CHATWRIGHT_PROVIDER_LIMITS: {text!r} is not provider=requests/tokens, e.g. openai=3000/90000"
            ) from None
    return found
