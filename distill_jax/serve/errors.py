"""What a request can be refused for."""

from collections.abc import Mapping


class RequestError(Exception):
    """A request that is not answered with tags: its status, why, and the field that is wrong.

    The body of the answer is `{"error": message, "field": field}`, the field being left out where
    none is at fault.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = " ".join(message.split())
        self.field = field
        self.headers = dict(headers or {})

    def body(self) -> dict[str, str]:
        """The answer's JSON; the field stands at the beginning of the message as well."""
        if self.field is None:
            return {"error": self.message}
        return {"error": f"{self.field}: {self.message}", "field": self.field}


def wrong(field: str, message: str) -> RequestError:
    """422: JSON, but not what a field may be."""
    return RequestError(422, message, field=field)


def later(status: int, message: str, seconds: int = 1) -> RequestError:
    """429 or 503, with `Retry-After`."""
    return RequestError(status, message, headers={"retry-after": str(max(1, seconds))})
