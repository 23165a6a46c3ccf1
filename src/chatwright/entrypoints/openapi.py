"""The OpenAPI 3.1 document, made from the routing table and the msgspec types: it cannot say anything else than the code."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.wire import ErrorReply

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_REFERENCE = "#/components/schemas/{name}"
_ACCESS = {
    Access.ADMIN: "An operator's key.",
    Access.TENANT: "A tenant's key.",
    Access.VISITOR: "A visitor's token or a tenant's key.",
    Access.STAFF: "A tenant's key, or an operator's for all tenants.",
}
_ERRORS = {
    "400": "The request is malformed",
    "401": "No valid credential",
    "403": "Not allowed",
    "404": "Unknown, or not yours",
    "409": "In conflict with what is there",
    "413": "Too large",
    "415": "Wrong content type",
    "422": "Well formed, but a field is not valid",
    "429": "Over a rate limit: see Retry-After",
    "503": "A part is away: try again",
}


def openapi(endpoints: Sequence[Endpoint], *, version: str) -> dict[str, Any]:
    """Describe every endpoint that belongs to the API (pages are left out)."""
    listed = [endpoint for endpoint in endpoints if endpoint.tag != "pages"]
    kinds: list[Any] = [ErrorReply]
    for endpoint in listed:
        kinds.extend(kind for kind in (endpoint.request, endpoint.response) if kind is not None)
        kinds.extend(kind for _, _, kind in endpoint.also)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    known = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in listed:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chatwright",
            "version": version,
            "description": "Self-hosted, multi-tenant AI chat pipeline. Any OpenAI client works against `/v1`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in listed)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "cw_admin_… (operators), cw_sk_… (tenants) or a visitor's token",
                }
            },
        },
    }


def _operation(endpoint: Endpoint, known: dict[int, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in endpoint.query
    ]
    if endpoint.creates:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key and body twice is one creation and the same reply, for 24 hours.",
                "schema": {"type": "string", "maxLength": 255},
            }
        )
    success: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.response is not None:
        success["content"] = {endpoint.content_type: {"schema": known[id(endpoint.response)]}}
    elif endpoint.content_type != "application/json":
        success["content"] = {endpoint.content_type: {"schema": {"type": "string"}}}
    refusal = {"content": {"application/json": {"schema": known[id(ErrorReply)]}}}
    operation: dict[str, Any] = {
        "operationId": _name(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": parameters,
        "responses": {
            str(endpoint.status): success,
            **{
                str(status): {"description": meaning, "content": {"application/json": {"schema": known[id(kind)]}}}
                for status, meaning, kind in endpoint.also
            },
            **{status: {"description": text, **refusal} for status, text in _ERRORS.items() if _may(endpoint, status)},
        },
    }
    if endpoint.request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": known[id(endpoint.request)]}},
        }
    if endpoint.access is Access.NONE:
        operation["security"] = []
    else:
        operation["security"] = [{"bearer": []}]
        operation["description"] = _ACCESS[endpoint.access]
    return operation


def _may(endpoint: Endpoint, status: str) -> bool:
    if status == "401":
        return endpoint.access is not Access.NONE
    if status in ("413", "415", "422"):
        return endpoint.request is not None
    return True


def _name(endpoint: Endpoint) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", _PARAMETER.sub(r"\1", endpoint.path).lower()).strip("_")
    return f"{endpoint.method.lower()}_{words}"
