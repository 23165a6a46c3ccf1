"""What a tenant can bring about with a model's name or a prompt must not look like the fault of the key that all use."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from chatwright.adapters.providers.address_guard import AddressGuard
from chatwright.adapters.providers.failures import failed, read_failure
from chatwright.adapters.providers.transport import Target
from chatwright.app.options import Settings
from chatwright.domain.errors import AuthenticationError, ContentFilterError, RateLimitError, Unprocessable
from chatwright.domain.providers import Turn
from chatwright.features.provider_keys import check_secret
from chatwright.features.routing.rules import Verdict, judge
from chatwright.pipeline.attachments import check_attachments

TOO_LARGE = "Request too large for gpt-4o in organization org-Abc123Def456Ghi on tokens per min (TPM): Limit 30000"
FILE = "You do not have permission to access the File abc or it may not exist."
BUCKET = "service-1@gcp-sa-aiplatform does not have storage.objects.get access to the object."
NO_MODEL = "Project `proj_Abc123Def456Ghi` does not have access to model `o9`"
NO_QUOTA = "Quota exceeded for metric: generate_content_free_tier_requests, limit: 0, model: gemini-x"


@pytest.mark.parametrize(
    ("status", "error", "error_class"),
    [
        (403, {"message": FILE, "status": "PERMISSION_DENIED", "code": 403}, "refused"),
        (403, {"message": BUCKET, "status": "PERMISSION_DENIED", "code": 403}, "refused"),
        (403, {"message": NO_MODEL, "code": "model_not_found"}, "model_not_found"),
        (403, {"message": "Your chosen model requires moderation and your input was flagged", "code": 403}, "content_filter"),
        (403, {"message": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}, "content_filter"),
        (429, {"message": TOO_LARGE, "code": "rate_limit_exceeded", "type": "tokens"}, "refused"),
        (429, {"message": NO_QUOTA, "status": "RESOURCE_EXHAUSTED", "code": 429}, "refused"),
    ],
)  # fmt: skip
def test_a_refusal_of_one_request_says_nothing_about_the_key(status: int, error: Any, error_class: str) -> None:
    failure = read_failure(_json({"error": error}))
    found = failed(failure, provider="p", status=status, headers={})
    assert found.error_class == error_class
    assert not found.retriable
    assert isinstance(found, ContentFilterError) is (error_class == "content_filter")
    assert judge(found) is Verdict.ANSWERED
    assert "Abc123Def456Ghi" not in found.message


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "Permission denied on resource project p.", AuthenticationError),
        (401, "Incorrect API key provided", AuthenticationError),
        (429, "Rate limit reached for gpt-4o: Limit 30000, Used 29000, Requested 5000.", RateLimitError),
    ],
)
def test_a_refusal_of_the_key_is_still_one(status: int, message: str, kind: type) -> None:
    assert isinstance(
        failed(read_failure(_json({"error": {"message": message}})), provider="p", status=status, headers={}), kind
    )


@pytest.mark.parametrize("body", [b'{"error":' * 5000 + b"1" + b"}" * 5000, b"[" * 5000, b'{"error":' * 900])
def test_an_error_that_is_nested_too_deeply_is_read_as_words(body: bytes) -> None:
    assert read_failure(body).codes == ()


# What a caller hands to a provider


def _part(**fields: Any) -> list[Turn]:
    return [
        Turn("user", "hi"),
        Turn("user", "", {"content": [{"type": "text", "text": "see http://10.0.0.1"}, fields]}),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a:b.pdf"}},
        {"type": "file", "file": {"file_data": "AAAA" * 100}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
)
def test_data_and_public_addresses_may_be_handed_on(part: dict[str, Any]) -> None:
    check_attachments(AddressGuard(), _part(**part), {})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}},
        {"type": "image_url", "image_url": "http://localhost:8080/"},
        {"type": "image_url", "image_url": {"url": "http://0x7f000001/"}},
        {"type": "image_url", "image_url": {"url": "gs://platform-bucket/secret.pdf"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "file", "file": {"file_data": "gs://platform-bucket/secret.pdf"}},
        {"type": "input_file", "file_url": "http://10.0.0.1/"},
        {"type": "video_url", "video_url": {"url": "http://metadata.google.internal/"}},
        {"type": "deep", "a": [{"b": {"fileUri": "gs://platform-bucket/x"}}]},
    ],
)
def test_an_address_that_only_the_provider_could_reach_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_attachments(AddressGuard(), _part(**part), {})
    assert refused.value.param is not None
    assert refused.value.param.startswith("messages[1].content[1].")


def test_tools_that_the_provider_runs_itself_are_refused() -> None:
    mine = {"type": "function", "function": {"name": "f", "parameters": {"url": "http://10.0.0.1"}}}
    check_attachments(AddressGuard(), [], {"tools": [mine, {"type": "custom", "custom": {"name": "g"}}]})
    for tool in (
        {"type": "web_search"},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": ["function"]},
        {},
        1,
    ):
        with pytest.raises(Unprocessable) as refused:
            check_attachments(AddressGuard(), [], {"tools": [mine, tool]})
        assert refused.value.param == "tools[1].type"


# What is shown of secrets


def test_no_repr_shows_a_key() -> None:
    canary = "cnry-3f9a"
    hidden: dict[str, Any] = {field.name: canary for field in fields(Settings) if field.metadata["mask"] != "no"}
    assert {"openai_api_key", "key_encryption_keys", "database_url"} <= set(hidden)
    assert canary not in repr(Settings(data_dir=Path("x"), **hidden))
    target = Target(URL("https://host.example/v1"), CIMultiDict(authorization=f"Bearer {canary}"))
    assert canary not in f"{target} {target!r}"


def test_a_service_account_whose_name_cannot_be_stored_is_refused() -> None:
    account = {"type": "service_account", "project_id": "p", "private_key": "PRIVATE KEY", "client_email": "a\0b"}
    with pytest.raises(Unprocessable, match="client_email"):
        check_secret("vertex", _json(account).decode())


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
