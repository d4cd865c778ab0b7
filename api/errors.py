"""Answers that are no success, as exceptions: each carries all that the answer needs."""

from typing import Final

from schemas.ocpi.response import Status

RETRY_AFTER_S: Final = 5
"""What a client is asked to wait before it tries again."""


class Refusal(Exception):
    """An answer that refuses: the HTTP status, the OCPI status code, one sentence, further headers."""

    def __init__(self, http: int, code: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.http = http
        self.code = code
        self.message = message
        self.headers = headers
        super().__init__(message)


def invalid(message: str) -> Refusal:
    """An OCPI request with parameters that cannot be: HTTP 200, because the path exists (OCPI 2.2.1 status_codes)."""
    return Refusal(200, Status.INVALID_PARAMETERS, message)


def missing(message: str, code: Status = Status.INVALID_PARAMETERS) -> Refusal:
    """Nothing is there, or nothing that this reader may know of; Locations and Tokens have codes of their own."""
    return Refusal(404, code, message)


def no_such_path(path: str) -> Refusal:
    """No interface answers under this path."""
    return Refusal(404, Status.CLIENT_ERROR, f"nothing answers at {path[:200]}")


def not_spoken(version: str) -> Refusal:
    """An OCPI version that we do not speak."""
    return Refusal(404, Status.UNSUPPORTED_VERSION, f"OCPI {version[:20]} is not spoken here; see /ocpi/versions")


def unauthenticated(scheme: bytes) -> Refusal:
    """The Authorization header names nobody; `scheme` is what WWW-Authenticate asks for."""
    text = "the Authorization header holds no token that is known here"
    return Refusal(401, Status.CLIENT_ERROR, text, ((b"www-authenticate", scheme),))


def forbidden() -> Refusal:
    """A partner asks for what is the operator's."""
    return Refusal(403, Status.CLIENT_ERROR, "a partner's token opens the OCPI interfaces only; this needs the operator's token")


def not_allowed(method: str, allow: str) -> Refusal:
    """The path exists, the verb does not."""
    return Refusal(405, Status.CLIENT_ERROR, f"{method[:20]} is not offered here, only {allow}", ((b"allow", allow.encode()),))


def unavailable(message: str, retry_after_s: int = RETRY_AFTER_S) -> Refusal:
    """The answer cannot be given now; the same request will succeed later."""
    return Refusal(503, Status.SERVER_ERROR, message, ((b"retry-after", b"%d" % retry_after_s),))
