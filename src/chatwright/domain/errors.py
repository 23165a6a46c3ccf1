"""One tree of errors. Each leaf knows its stable code, its HTTP status, what the worker does and how loud it is.

ChatwrightError
├── BadRequest                    400 bad_request
│   ├── ContentBlocked            400 content_blocked
│   ├── PayloadTooLarge           413 payload_too_large
│   ├── UnsupportedMediaType      415 unsupported_media_type
│   └── Unprocessable             422 unprocessable
├── Unauthenticated               401 unauthenticated
├── Forbidden                     403 forbidden
├── NotFound                      404 not_found
├── MethodNotAllowed              405 method_not_allowed
├── Conflict                      409 conflict
├── BudgetExceeded                402 budget_exceeded         (retry_after_s: the next period)
├── RateLimited                   429 rate_limit_exceeded     (retry_after_s)
├── Unavailable                   503 unavailable             (a server of ours is away: try again)
├── DeadlineExceeded              504 deadline_exceeded
├── LostLock                      409 lost_lock               (another attempt took over: change nothing)
├── Cancelled                     409 cancelled               (the visitor or operator stopped the answer)
└── ProviderError                 503 provider_unavailable    (retriable or not)
    ├── RateLimitError            429 → next provider         (retry_after_s)
    ├── ContextLengthError        the prompt does not fit this model
    ├── AuthenticationError       the key is refused
    ├── ContentFilterError        the provider refused the content
    └── CutStream                 a stream that ended without a finish marker
"""

from enum import StrEnum
from typing import ClassVar, Literal

from chatwright.domain.limits import Standing
from chatwright.domain.providers import Usage

Level = Literal["debug", "info", "warning", "error"]


class Retry(StrEnum):
    """What may follow a failure."""

    NEVER = "never"
    LATER = "later"
    OTHER_PROVIDER = "other_provider"


class ChatwrightError(Exception):
    """Base of all. `message` says what was wrong and how to mend it; `param` names the offending field, if one."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retry: ClassVar[Retry] = Retry.NEVER
    level: ClassVar[Level] = "error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(ChatwrightError):
    code = "bad_request"
    status = 400
    level = "info"


class ContentBlocked(BadRequest):
    code = "content_blocked"


class PayloadTooLarge(BadRequest):
    code = "payload_too_large"
    status = 413


class UnsupportedMediaType(BadRequest):
    code = "unsupported_media_type"
    status = 415


class Unprocessable(BadRequest):
    code = "unprocessable"
    status = 422


class Unauthenticated(ChatwrightError):
    code = "unauthenticated"
    status = 401
    level = "info"


class Forbidden(ChatwrightError):
    code = "forbidden"
    status = 403
    level = "info"


class NotFound(ChatwrightError):
    """Unknown, or another tenant's: the two are not told apart."""

    code = "not_found"
    status = 404
    level = "info"


class MethodNotAllowed(ChatwrightError):
    code = "method_not_allowed"
    status = 405
    level = "info"


class Conflict(ChatwrightError):
    code = "conflict"
    status = 409
    level = "info"


class BudgetExceeded(ChatwrightError):
    """The reservation would pass the budget. No provider was called.

    `action` is what the budget asks for then: `block`, `downgrade` or `extractive`; `budget_id` and `scope` (tenant,
    chatbot, visitor, import) say which budget it is, `retry_after_s` when its next period begins; None: it has none.
    """

    code = "budget_exceeded"
    status = 402
    level = "info"

    def __init__(
        self,
        message: str,
        *,
        action: str = "block",
        budget_id: str | None = None,
        scope: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.action = action
        self.budget_id = budget_id
        self.scope = scope
        self.retry_after_s = retry_after_s


class RateLimited(ChatwrightError):
    """A rate limit holds the request back; nothing was taken from any. `scope` (tenant, chatbot, visitor, key) and `unit`
    (requests, tokens, concurrency) say which limit it is, None where it is none of ours that can be set."""

    code = "rate_limit_exceeded"
    status = 429
    retry = Retry.LATER
    level = "info"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float,
        param: str | None = None,
        standing: Standing | None = None,
        scope: str | None = None,
        unit: str | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s
        self.standing = standing
        self.scope = scope
        self.unit = unit


class Unavailable(ChatwrightError):
    code = "unavailable"
    status = 503
    retry = Retry.LATER
    level = "warning"


class DeadlineExceeded(ChatwrightError):
    code = "deadline_exceeded"
    status = 504
    level = "warning"


class LostLock(ChatwrightError):
    """Another attempt owns the work now. Whoever holds this changes no message, answer or stream row."""

    code = "lost_lock"
    status = 409
    level = "warning"


class Cancelled(ChatwrightError):
    """The visitor or an operator stopped the answer."""

    code = "cancelled"
    status = 409
    level = "info"


class ProviderError(ChatwrightError):
    """A provider did not answer as it should.

    `retriable` says whether the same request may succeed there in a moment; `upstream_status` is its HTTP status, or
    None for a transport fault. `retry_after_s` is what the provider asked for, if it did. The message never holds a
    key or a prompt. `usage` is what the provider reported before it failed: it is charged although no answer came.
    `sent` is False where no request can have reached the provider: nothing can be charged then.
    """

    code = "provider_unavailable"
    status = 503
    retry = Retry.OTHER_PROVIDER
    level = "warning"

    def __init__(
        self,
        message: str,
        *,
        retriable: bool,
        upstream_status: int | None = None,
        retry_after_s: float | None = None,
        error_class: str = "provider_error",
    ) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.upstream_status = upstream_status
        self.retry_after_s = retry_after_s
        self.error_class = error_class
        self.usage: Usage | None = None
        self.sent = True
        self.final = False
        """The answer has no provider call left: another attempt of its job could make none."""


class RateLimitError(ProviderError):
    def __init__(self, message: str, *, upstream_status: int | None = 429, retry_after_s: float | None = None) -> None:
        super().__init__(
            message,
            retriable=True,
            upstream_status=upstream_status,
            retry_after_s=retry_after_s,
            error_class="rate_limited",
        )


class ContextLengthError(ProviderError):
    def __init__(self, message: str, *, upstream_status: int | None = 400) -> None:
        super().__init__(message, retriable=False, upstream_status=upstream_status, error_class="context_too_long")


class AuthenticationError(ProviderError):
    def __init__(self, message: str, *, upstream_status: int | None = 401) -> None:
        super().__init__(message, retriable=False, upstream_status=upstream_status, error_class="authentication")


class ContentFilterError(ProviderError):
    def __init__(self, message: str, *, upstream_status: int | None = 400) -> None:
        super().__init__(message, retriable=False, upstream_status=upstream_status, error_class="content_filter")


class CutStream(ProviderError):
    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=True, upstream_status=200, error_class="cut_stream")
