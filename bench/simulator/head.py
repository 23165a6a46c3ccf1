"""A request's head. Called by `server.py` and `paths.py`."""


class Head:
    """A request's head; names are looked up without regard to case."""

    __slots__ = ("_key", "_low", "_raw", "method", "target")

    def __init__(self, raw: bytes) -> None:
        self.method, _, rest = raw.partition(b" ")
        self.target = rest[: rest.find(b" ")].decode("latin-1")
        self._raw = raw
        self._low = raw.lower()
        self._key: str | None = None

    def get(self, name: bytes) -> str:
        """The value of a header, or "". `name` is lower case, with the line break before it and the colon."""
        at = self._low.find(name)
        if at < 0:
            return ""
        start = at + len(name)
        return self._raw[start : self._raw.index(b"\r\n", start)].strip().decode("utf-8", "replace")

    def key(self) -> str:
        """The caller's key, of whichever dialect; "" without one."""
        if self._key is None:
            bearer = self.get(b"\r\nauthorization:")
            self._key = (
                bearer[7:]
                if bearer[:7].lower() == "bearer "
                else (self.get(b"\r\nx-api-key:") or self.get(b"\r\nx-goog-api-key:") or self.get(b"\r\napi-key:"))
            )
        return self._key
