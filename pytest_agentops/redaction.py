"""What may be kept of an exchange: secrets are taken out before anything remembers it.

A live trace is read from the redacted exchanges too, so that it equals the trace of its cassette.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pytest_agentops.exchange import Headers, Request, Response

REDACTED = "REDACTED"

_KEPT_OF_REQUESTS = frozenset(
    "accept anthropic-beta anthropic-version content-type openai-beta x-stainless-retry-count".split()
)
_KEPT_OF_RESPONSES = frozenset(
    "content-encoding content-type location openai-processing-ms openai-version request-id retry-after retry-after-ms "
    "x-request-id x-should-retry".split()
)
_CREDENTIALS = frozenset("authorization proxy-authorization api-key x-api-key x-goog-api-key cookie".split())

_NAMES = frozenset(
    "accesskey accesstoken apikey apitoken appsecret auth authorization authtoken awsaccesskeyid awssecretaccesskey "
    "bearertoken clientsecret idtoken key openaiapikey passphrase passwd password privatekey refreshtoken secret "
    "secretaccesskey secretkey sessiontoken sig signature subscriptionkey token xamzsecuritytoken xamzsignature "
    "xamzcredential xapikey".split()
)
"""Names of secrets, without case and punctuation; compared whole, so that `max_tokens` is none."""

_TOO_COMMON_IN_JSON = frozenset({"key", "sig", "auth"})
"""Names that hold a secret in a query, and anything at all in a body."""

_VALUES = re.compile(
    rb"(?:(?<![A-Za-z0-9_+/-])|(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4}))"
    rb"(?:sk-[A-Za-z0-9_-]{20,200}|gsk_[A-Za-z0-9]{20,100}|AIza[0-9A-Za-z_-]{35}"
    rb"|gh[pousr]_[A-Za-z0-9]{36,100}|xox[abprs]-[A-Za-z0-9-]{10,100}|(?<=Bearer )[A-Za-z0-9._~+/-]{16,400})"
    rb"(?![A-Za-z0-9_+/=-])"
)
"""Keys that can be told by their look, with boundaries, so that base64 holds none by chance.

In a JSON text what stands before one may be the last letter of an escape, such as `\\n` or `\\u003d`.
"""

_LOOKS = (b"sk-", b"gsk_", b"AIza", b"gh", b"xox", b"Bearer ")
_SPELLED = "|".join("[-_]?".join(name) for name in sorted(_NAMES - _TOO_COMMON_IN_JSON, key=len, reverse=True)).encode()
_FIELD = re.compile(
    # The `token` of a log probability is a piece of the answer.
    rb'(?i)"(?:%b)"\s*:\s*"(?P<value>(?:[^"\\]|\\.)+)"(?!\s*,\s*"(?:bytes|logprob)")' % _SPELLED
)
_NESTED_FIELD = re.compile(rb'(?i)\\"(?:%b)\\"\s*:\s*\\"(?P<value>(?:(?!\\").)+)\\"' % _SPELLED)
"""The fields of JSON that hold a secret, in a body and in JSON that a body carries as text."""


class Redactor:
    """Takes secrets out of requests and responses; what it saw in a credential header or a query, everywhere."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def request(self, request: Request) -> Request:
        """The request as it may be kept."""
        self._learn(request.headers)
        return Request(
            request.method,
            self._url(request.url),
            tuple(pair for pair in request.headers if pair[0] in _KEPT_OF_REQUESTS),
            self._body(request.body, form=_is_form(request.headers)),
        )

    def response(self, response: Response) -> Response:
        """The response as it may be kept."""
        headers = tuple(
            (name, self._url(value) if name == "location" else self.text(value))
            for name, value in response.headers
            if name in _KEPT_OF_RESPONSES
        )
        return replace(response, headers=headers, body=self._body(response.body))

    def text(self, text: str) -> str:
        """The text without secrets, for what is said about an exchange."""
        return self._body(text.encode()).decode()

    def _learn(self, headers: Headers) -> None:
        for name, value in headers:
            if name == "cookie":
                self._remember(*(cookie.partition("=")[2] for cookie in value.split(";")))
            elif name in _CREDENTIALS:
                self._remember(value.strip().rpartition(" ")[2])  # Without a scheme such as "Bearer".

    def _remember(self, *secrets: str) -> None:
        # Shorter ones are stand-ins such as "test", which occur in honest text.
        self._seen.update(secret.encode() for secret in secrets if len(secret) >= 12)

    def _url(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.query:
            self._remember(*(value for name, value in _query(parts.query) if _is_secret(name)))
            query = [(name, REDACTED if _is_secret(name) else value) for name, value in _query(parts.query)]
            if query != _query(parts.query):
                parts = parts._replace(query=urlencode(query))
        if "@" in parts.netloc:
            self._remember(unquote(parts.password or ""))
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        return self.text(urlunsplit(parts))

    def _body(self, body: bytes, *, form: bool = False) -> bytes:
        # A longer secret may begin with a shorter one; and other threads may learn more meanwhile.
        for secret in sorted(self._seen, key=len, reverse=True):
            body = body.replace(secret, REDACTED.encode())
        if any(look in body for look in _LOOKS):
            body = _VALUES.sub(REDACTED.encode(), body)
        if form:
            pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True)
            if any(_is_secret(name) for name, _ in pairs):
                return urlencode([(name, REDACTED if _is_secret(name) else value) for name, value in pairs]).encode()
            return body
        body = _FIELD.sub(_without_value, body)
        return _NESTED_FIELD.sub(_without_value, body) if rb"\"" in body else body


def _without_value(found: re.Match[bytes]) -> bytes:
    start, end = found.span("value")
    return found[0][: start - found.start()] + REDACTED.encode() + found[0][end - found.start() :]


def _is_secret(name: str) -> bool:
    return _plain(name) in _NAMES


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _is_form(headers: Headers) -> bool:
    return any(name == "content-type" and value.startswith("application/x-www-form") for name, value in headers)


def _query(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)
