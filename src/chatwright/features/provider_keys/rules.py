"""How provider keys are sealed, and which secrets can be one. No I/O.

A sealed secret is a 96-bit random nonce followed by AES-256-GCM; the row it belongs to (tenant, id, version) is its
associated data, so that a ciphertext moved to another row does not open. The key-encryption keys never enter the
database; `service.py` is handed them as `KeyEncryptionKeys`.
"""

import base64
import binascii
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chatwright.domain.errors import ChatwrightError, Unprocessable
from chatwright.domain.ids import TenantId

KEY_BYTES = 32
SECRET_AT_MOST = 16_384
KEYS_AT_MOST = 100
"""Keys in use that one owner may have: they are held in memory together."""
VERTEX = "vertex"
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HINT_CHARS = 4
_HINT_FROM = 16  # shorter secrets have no four characters to spare
_HINT_AT_MOST = 100
_KEK_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ACCOUNT_FIELDS = ("type", "project_id", "private_key_id", "private_key", "client_email", "client_id", "token_uri")


class SealBroken(ChatwrightError):
    """A stored secret does not open: another key-encryption key sealed it, or it is not this row's."""


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """Seals secrets. Its `repr` shows the id alone; it holds the cipher, not the bytes it was made from."""

    id: str
    cipher: AESGCM = field(repr=False, compare=False)

    @classmethod
    def of(cls, key_id: str, key: bytes) -> "KeyEncryptionKey":
        """Raises ValueError for an id or a length that cannot be."""
        if not _KEK_ID.fullmatch(key_id):
            raise ValueError("an id is 1 to 64 letters, digits, dots, dashes and underscores")
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key {key_id} has {len(key)} bytes instead of {KEY_BYTES}")
        return cls(key_id, AESGCM(key))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key-encryption key is not copied or pickled")


class KeyEncryptionKeys(Protocol):
    """Where key-encryption keys come from; two of them stand in `app/keyfile.py`."""

    def newest(self) -> KeyEncryptionKey | None:
        """The one that seals; None: there is none, and no key can be stored."""
        ...

    def find(self, key_id: str) -> KeyEncryptionKey | None:
        """The one of that id, looked for anew if it is not known yet."""
        ...


class ProviderSecret:
    """A sealed secret that opens itself, for as long as one call needs it: about a microsecond each time.

    Nothing but `reveal` shows what is inside: not `repr`, `str`, a format, a pickle, a copy or an encoder.
    """

    __slots__ = ("_cipher", "_place", "_sealed")

    def __init__(self, kek: KeyEncryptionKey, sealed: bytes, place: bytes) -> None:
        self._cipher = kek.cipher
        self._sealed = sealed
        self._place = place

    def reveal(self) -> str:
        """The secret. Raises SealBroken."""
        try:
            return self._cipher.decrypt(self._sealed[:_NONCE_BYTES], self._sealed[_NONCE_BYTES:], self._place).decode()
        except (InvalidTag, ValueError):
            # Without the cause: what could not be opened is nobody's business.
            raise SealBroken("a stored provider key does not open; add it anew") from None

    def __repr__(self) -> str:
        return "ProviderSecret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """A key in use. `base_url` None: the provider's own address. Limits are per minute, None: not known."""

    id: str
    tenant_id: TenantId | None
    provider: str
    name: str
    hint: str
    secret: ProviderSecret
    base_url: str | None = None
    request_limit: int | None = None
    token_limit: int | None = None


def place_of(tenant_id: str | None, row_id: str, version: int) -> bytes:
    """The associated data of a row's secret."""
    return f"{tenant_id or 'platform'}|{row_id}|{version}".encode()


def seal(kek: KeyEncryptionKey, secret: str, *, tenant_id: str | None, row_id: str, version: int) -> bytes:
    """Seal a secret for one version of one row. Random nonces are safe for 2^32 sealings with one key."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + kek.cipher.encrypt(nonce, secret.encode(), place_of(tenant_id, row_id, version))


def sealed_secret(
    kek: KeyEncryptionKey, sealed: bytes, *, tenant_id: str | None, row_id: str, version: int
) -> ProviderSecret:
    """A row's secret, tried once. Raises SealBroken."""
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise SealBroken("a stored provider key does not open; add it anew")
    secret = ProviderSecret(kek, sealed, place_of(tenant_id, row_id, version))
    secret.reveal()
    return secret


def read_keks(text: str) -> tuple[KeyEncryptionKey, ...]:
    """Key-encryption keys of ``id:base64,…``, the newest first. Raises ValueError; its words show no key."""
    found: list[KeyEncryptionKey] = []
    for part in text.split(","):
        key_id, colon, encoded = part.strip().partition(":")
        if not colon:
            raise ValueError("each key is id:base64")
        found.append(KeyEncryptionKey.of(key_id, read_base64(encoded)))
    if len({kek.id for kek in found}) != len(found):
        raise ValueError("two keys have the same id")
    return tuple(found)


def read_base64(text: str) -> bytes:
    """Bytes of base64, either alphabet, padded or not. Raises ValueError without the text."""
    text = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the key is no base64") from None


def check_secret(provider: str, text: str) -> str:
    """The secret as it is stored. Raises Unprocessable, which never repeats it.

    For `vertex` it is a service account's JSON, cut down to what a token needs. Other kinds of Google credentials name
    addresses and programs to fetch a token from, which no tenant may choose for us.
    """
    text = text.strip()
    if not text or len(text.encode("utf-8", "replace")) > SECRET_AT_MOST:
        raise Unprocessable(f"a secret has 1 to {SECRET_AT_MOST:,} bytes", param="secret")
    if provider == VERTEX:
        return _check_account(text)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Unprocessable("a secret is one line of printable ASCII characters without spaces", param="secret")
    return text


def _check_account(text: str) -> str:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unprocessable("the secret of vertex is the JSON file of a service account", param="secret")
    account = cast("dict[str, Any]", found)
    if account.get("type") != "service_account":
        raise Unprocessable("of Google's credentials only those of type service_account are taken", param="secret")
    for name in ("project_id", "private_key", "client_email"):
        if not isinstance(account.get(name), str) or not account[name]:
            raise Unprocessable(f"the service account lacks its {name}", param="secret")
    if not (account["client_email"].isprintable() and account["project_id"].isprintable()):
        raise Unprocessable("the service account's client_email and project_id are no names", param="secret")
    if "PRIVATE KEY" not in account["private_key"]:
        raise Unprocessable("the service account's private_key is no PEM text", param="secret")
    if account.get("token_uri", GOOGLE_TOKEN_URI) != GOOGLE_TOKEN_URI:
        raise Unprocessable("the service account's token_uri is not Google's", param="secret")
    if account.get("universe_domain", "googleapis.com") != "googleapis.com":
        raise Unprocessable("the service account belongs to another cloud than Google's own", param="secret")
    kept = {name: account[name] for name in _ACCOUNT_FIELDS if isinstance(account.get(name), str)}
    return json.dumps({**kept, "token_uri": GOOGLE_TOKEN_URI}, separators=(",", ":"))


def hint_of(provider: str, secret: str) -> str:
    """What people tell keys apart by: the last characters, or the service account's address."""
    if provider == VERTEX:
        return str(json.loads(secret)["client_email"])[:_HINT_AT_MOST]
    return f"…{secret[-_HINT_CHARS:]}" if len(secret) >= _HINT_FROM else "…"
