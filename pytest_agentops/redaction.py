"""What may be kept of an exchange: secrets are taken out before anything remembers it.

A live trace is read from the redacted exchanges too, so that it equals the trace of its cassette.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import json
import os
import re
import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import quote_plus, unquote, unquote_plus, urlsplit, urlunsplit

from pytest_agentops.credentials import (
    PERSONAL,
    PLACEHOLDER,
    Found,
    Spelling,
    by_look,
    credential_of,
    decoded,
    encoded,
    in_assignments,
    in_fields,
    in_parts,
    is_secret,
    is_secret_variable,
    is_template,
    is_worth_knowing,
    personal,
    plain_name,
    spelling,
)
from pytest_agentops.errors import SettingsError, did_you_mean
from pytest_agentops.exchange import Exchange, Headers, Request, Response, header, parse_json
from pytest_agentops.frames import CONTENT_TYPE, Frame, frames_of

_KEPT_OF_REQUESTS = frozenset(
    "accept anthropic-beta anthropic-version content-type openai-beta x-stainless-retry-count".split()
)
_KEPT_OF_RESPONSES = frozenset(
    "content-encoding content-type location openai-processing-ms openai-version request-id retry-after retry-after-ms "
    "sec-websocket-protocol x-amzn-bedrock-input-token-count x-amzn-bedrock-output-token-count x-request-id "
    "x-should-retry".split()
)
_CREDENTIALS = frozenset(
    "authorization proxy-authorization api-key x-api-key x-goog-api-key openai-organization openai-project".split()
)
"""Headers that tell who is asking; those with the name of a secret do, too."""


# --- what a project adds ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """What counts as a secret in this project, beyond what always does."""

    patterns: tuple[str, ...] = ()
    """Regular expressions; a group named `secret` narrows what is replaced, else it is the whole match."""
    functions: tuple[str, ...] = ()
    """Such as `package.module:function`: called with each text, it gives the texts to take out."""
    names: tuple[str, ...] = ()
    """Further names of query parameters, form fields and JSON fields whose value is secret."""
    environment: tuple[str, ...] = ()
    """Further environment variables whose values are secret, such as `ACME_*`."""
    personal: tuple[str, ...] = ()
    """Personal data to take out: of `email`, `phone`, `card`."""
    allow: tuple[str, ...] = ()
    """Texts that look like a secret and are none."""

    @classmethod
    def from_table(cls, table: object, what: str) -> Rules:
        """The rules in a table of `[tool.agentops]`; `what` says in an error where it stands.

        Raises:
            SettingsError: a key that is not known, or a value that cannot be used.
        """
        known = [each.name for each in fields(cls)]
        if not isinstance(table, Mapping):
            raise SettingsError(f"{what} must be a table, such as [tool.agentops.redact] with: {', '.join(known)}")
        given: dict[str, tuple[str, ...]] = {}
        for key, value in table.items():
            if key not in known:
                hint = did_you_mean(key, known)
                raise SettingsError(f"{what} has no {key!r}{hint}; there are: {', '.join(known)}")
            if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
                raise SettingsError(f"{key} of {what} must be a list of texts, and is {value!r}")
            given[key] = tuple(value)
        rules = cls(**given)
        for kind in rules.personal:
            if kind not in PERSONAL:
                hint = did_you_mean(kind, PERSONAL)
                raise SettingsError(f"personal of {what} has no {kind!r}{hint}; there are: {', '.join(PERSONAL)}")
        for name in rules.names:
            if not plain_name(name):
                raise SettingsError(f"names of {what}: {name!r} has no letter or digit")
        try:
            _compiled(rules)
        except SettingsError as error:
            raise SettingsError(f"{what}: {error}") from error.__cause__
        return rules


_NO_RULES = Rules()


@dataclass(frozen=True)
class _Compiled:
    patterns: tuple[re.Pattern[str], ...]
    functions: tuple[tuple[str, Callable[[str], Iterable[str]]], ...]
    names: frozenset[str]
    allow: frozenset[str]


@lru_cache(maxsize=64)
def _compiled(rules: Rules) -> _Compiled:
    return _Compiled(
        tuple(map(_pattern, rules.patterns)),
        tuple((name, _function(name)) for name in rules.functions),
        frozenset(map(plain_name, rules.names)),
        frozenset(rules.allow),
    )


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SettingsError(f"the pattern {text!r} is no regular expression: {error}") from None
    if pattern.search(""):
        raise SettingsError(f"the pattern {text!r} matches the empty text, so it would match everywhere")
    return pattern


def _function(name: str) -> Callable[[str], Iterable[str]]:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise SettingsError(f"the function {name!r} must be written as package.module:function")
    try:
        function: Any = importlib.import_module(module)
        for part in path.split("."):
            function = getattr(function, part)
    except Exception as error:  # A module can fail to import in any way.
        raise SettingsError(f"the function {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise SettingsError(f"the function {name!r} is {type(function).__name__}, and cannot be called")
    return function  # type: ignore[no-any-return]  # What it gives is looked at when it is called.


# --- taking secrets out ----------------------------------------------------------------------------------------------


class Redactor:
    """Takes secrets out of requests and responses; what it saw in one place, everywhere after.

    A secret becomes `REDACTED-1`, the next one `REDACTED-2` and so on: the same secret has the same number, however it
    is spelled, so that two different requests stay different. What is redacted already is left alone.
    """

    def __init__(
        self, rules: Rules = _NO_RULES, *, environment: Mapping[str, str] = os.environ, first: int = 1
    ) -> None:
        self._rules = rules
        self._compiled = _compiled(rules)
        self._own = bool(rules.patterns or rules.functions or rules.personal)
        self._next = first
        self._numbers: dict[str, int] = {}
        self._known: dict[str, str] = {}
        self._needles: tuple[tuple[bytes, Spelling], ...] = ()
        self._headers: set[tuple[str, str]] = set()
        self._done: dict[str, str] = {}
        self._lock = threading.RLock()
        self._know({text: f"the value of {name}" for name, text in _secret_variables(environment)})
        if rules.environment:  # What a project names is a secret even where it is a word.
            named = {name: text for name, text in environment.items() if _is_named(name, rules.environment)}
            self._know({text.strip(): f"the value of {name}" for name, text in named.items()}, anyway=True)

    @property
    def learned(self) -> int:
        """How many secrets are known so far."""
        return len(self._known)

    def request(self, request: Request) -> Request:
        """The request as it may be kept."""
        self._read(request.headers)
        url = self._once(request.url, self._url)
        before = self.learned
        body = self._body(request.body, request.headers)
        if self.learned != before:  # The body may name what the URL holds.
            url = self._url(url)
        headers = tuple((name, self._once(value)) for name, value in request.headers if name in _KEPT_OF_REQUESTS)
        return Request(request.method, url, headers, body)

    def response(self, response: Response) -> Response:
        """The response as it may be kept."""
        self._read(response.headers)
        body = self._body(response.body, response.headers, stream=response.is_stream, events=response.is_event_stream)
        headers = tuple(
            (name, self._url(value) if name == "location" else self._once(value))
            for name, value in response.headers
            if name in _KEPT_OF_RESPONSES
        )
        return replace(response, reason=self._once(response.reason), headers=headers, body=body)

    def frame(self, frame: Frame) -> Frame:
        """One frame as it may be kept: cleaned as a line among others, so that each run cleans it alike."""
        line = Response(101, headers=(("content-type", CONTENT_TYPE),), body=frame.line())
        return next(iter(frames_of(self.response(line).body)), frame)

    def exchange(self, exchange: Exchange) -> Exchange:
        """What is kept of an exchange, without what has been learned since."""
        request, response, failure = self.request(exchange.request), exchange.response, exchange.failure
        if response is not None:
            response = self.response(response)
        if failure is not None:
            failure = replace(failure, message=self.text(failure.message))
        if (request, response, failure) == (exchange.request, exchange.response, exchange.failure):
            return exchange
        return replace(exchange, request=request, response=response, failure=failure)

    def text(self, text: str) -> str:
        """The text without secrets."""
        raw, errors = _raw(text)
        clean = self._clean(raw, self._by_rules(raw) if self._own else ())
        return text if clean is raw else clean.decode("utf-8", errors)

    def value(self, value: object) -> object:
        """The JSON value without secrets in its texts, and without the values of fields that are secret by name."""
        before = self.learned
        clean = self._value(value)
        # What was learned at its end may stand at its beginning.
        return self._value(clean) if self.learned != before else clean

    # What is a secret ...

    def _read(self, headers: Headers) -> None:
        for pair in headers:
            if pair in self._headers:
                continue
            self._headers.add(pair)
            name, value = pair
            kind = f"what stood in a {name} header" if name[0] not in "aeiox" else f"what stood in an {name} header"
            if name in ("cookie", "set-cookie"):
                cookies = value.split(";") if name == "cookie" else [value.partition(";")[0]]
                self._know({cookie.partition("=")[2].strip('" '): kind for cookie in cookies})
            elif name in _CREDENTIALS or (is_secret(name) and name not in _KEPT_OF_RESPONSES):
                self._know(dict.fromkeys(_credentials(value), kind))

    def _know(self, secrets: Mapping[str, str], *, anyway: bool = False) -> None:
        """From now on these are secrets wherever they stand, unless they occur in honest text; each with its kind."""
        new = {
            text: kind
            for text, kind in secrets.items()
            if text not in self._known and text not in self._compiled.allow
            and (is_worth_knowing(text) or (anyway and len(text) >= 4 and not PLACEHOLDER.fullmatch(encoded(text))))
        }  # fmt: skip
        if not new:
            return
        with self._lock:
            self._known = {**self._known, **new}
            # A longer secret may begin with a shorter one.
            spellings = map(spelling, sorted(self._known, key=len, reverse=True))
            self._needles = tuple((needle, each) for each in spellings for needle in (each.core, *each.blocks))
            self._done = {}

    def _standing(self, text: bytes) -> Iterator[Found]:
        """Where what is known stands in this text."""
        for each in dict.fromkeys([each for needle, each in self._needles if needle in text]):
            for start, end in each.find(text):
                yield Found(start, end, each.text, self._known[each.text])

    def _by_rules(self, raw: bytes, *, functions: bool = True) -> list[Found]:
        """What the project's own rules find."""
        found = list(personal(raw, self._rules.personal)) if self._rules.personal else []
        if not (self._rules.patterns or self._rules.functions):
            return found
        text = decoded(raw)
        for pattern in self._compiled.patterns:
            group = "secret" if "secret" in pattern.groupindex else 0
            for match in pattern.finditer(text):
                if match[group]:
                    start = len(encoded(text[: match.start(group)]))
                    kind = f"what the pattern {pattern.pattern!r} finds"
                    found.append(Found(start, start + len(encoded(match[group])), match[group], kind))
        for name, function in self._compiled.functions if functions else ():
            secrets = dict.fromkeys(_called(name, function, text), f"what {name} finds")
            self._know(secrets, anyway=True)
            for secret, kind in secrets.items():
                found += (Found(start, end, secret, kind) for start, end in spelling(secret).find(raw))
        return found

    # ... and what becomes of it

    def _clean(self, text: bytes, found: Iterable[Found] = ()) -> bytes:
        """The text without secrets; the very object where there is none."""
        if b"REDACTED-" in text:
            self._keep_off(text)
        edits = self._edits(text, found)
        if not edits:
            return text
        parts, at = [], 0
        for start, end, placeholder in edits:
            parts += [text[at:start], placeholder]
            at = end
        return b"".join([*parts, text[at:]])

    def _edits(self, text: bytes, found: Iterable[Found] = ()) -> list[tuple[int, int, bytes]]:
        """What to put where, in order."""
        names, allow = self._compiled.names, self._compiled.allow
        all_found = [*found, *by_look(text), *in_fields(text, names), *in_assignments(text, names)]
        if allow:
            all_found = [each for each in all_found if each.text not in allow]
        if all_found:
            # The first to find it knows best what it is.
            self._know({each.text: each.kind for each in reversed(all_found) if each.learn})
        all_found += self._standing(text)
        if not all_found:
            return []
        return [(each.start, each.end, self._placeholder(each.text)) for each in _apart(text, all_found)]

    def _placeholder(self, secret: str) -> bytes:
        with self._lock:
            if secret not in self._numbers:
                self._numbers[secret] = self._next
                self._next += 1
            return b"REDACTED-%d" % self._numbers[secret]

    def _keep_off(self, text: bytes) -> None:
        """Give no secret a number that stands in what others wrote."""
        with self._lock:
            for number in re.findall(rb"REDACTED-(\d{1,9})(?!\d)", text):
                self._next = max(self._next, int(number) + 1)

    def _once(self, text: str, clean: Callable[[str], str] | None = None) -> str:
        """The same for what comes with each request."""
        if (done := self._done.get(text)) is not None:
            return done
        known = self._known
        result = (clean or self.text)(text)
        with self._lock:
            if self._known is known and len(self._done) < 500:  # Else it may hold what was learned meanwhile.
                self._done[text] = result
        return result

    def _url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError:
            return self.text(url)
        self._keep_off(encoded(url))
        new = parts
        if "@" in parts.netloc:
            user, _, password = parts.netloc.rpartition("@")[0].partition(":")
            self._know({unquote(password or user): "the credentials in a URL"})
            new = new._replace(netloc=parts.netloc.rpartition("@")[2])
        # A key may be a part of the path; what stands before it there could be base64 elsewhere.
        new = new._replace(path="/".join(map(self._quoted, parts.path.split("/"))))
        if parts.query:
            new = new._replace(query=self._pairs(parts.query))
        if "=" in parts.fragment:
            new = new._replace(fragment=self._pairs(parts.fragment))
        return self.text(url if new == parts else urlunsplit(new))

    def _pairs(self, query: str) -> str:
        return "&".join(map(self._pair, query.split("&")))

    def _pair(self, pair: str) -> str:
        name, sign, value = pair.partition("=")
        if not sign:
            return self._quoted(pair)
        plain = unquote_plus(value, errors="surrogateescape")
        if not value or not is_secret(unquote_plus(name), "query", self._compiled.names):
            return name + sign + self._quoted(value)
        if plain in self._compiled.allow or PLACEHOLDER.fullmatch(encoded(plain)):
            return pair
        self._know({plain: f"the value of {unquote_plus(name)}"})
        return f"{name}={self._placeholder(plain).decode()}"

    def _quoted(self, value: str) -> str:
        plain = unquote_plus(value, errors="surrogateescape")
        clean = self.text(plain)
        return value if clean == plain else quote_plus(clean, errors="surrogateescape")

    def _body(self, body: bytes, headers: Headers, *, stream: bool = False, events: bool = False) -> bytes:
        kind = header(headers, "content-type") or ""
        if not body:
            return body
        if b"REDACTED-" in body:
            self._keep_off(body)
        if kind.startswith("application/x-www-form-urlencoded"):
            return encoded(self._pairs(decoded(body)))
        found: list[Found] = []
        if "form-data" in kind:
            found += in_parts(body, self._compiled.names)
        if stream or body.startswith((b"data:", b"event:")):
            body = self._stream(body, events=events or not stream)
        elif self._own or (b"\\u00" in body and _NEEDLESS_ESCAPE.search(body)):
            value = parse_json(body)
            if value is not None:
                body = self._rewritten(body, value)
            elif self._own:
                found += self._by_rules(body)
        return self._clean(body, found)

    def _rewritten(self, body: bytes, value: object) -> bytes:
        try:
            clean = self.value(value)
        except RecursionError:
            return self._clean(body, self._by_rules(body))
        return body if clean == value else _written_like(body, clean)

    def _value(self, value: object, *, secret: str | None = None) -> object:
        """The value without secrets; `secret` is the name of the field where that makes it one."""
        if isinstance(value, str):
            return self._secret_field(value, secret) if secret and value else self.text(value)
        if isinstance(value, bytes):
            return self._clean(value, self._by_rules(value) if self._own else ())
        if isinstance(value, Mapping):
            scored = any(plain_name(str(name)).startswith(("logprob", "bytes", "tokenid")) for name in value)
            return {
                self.text(name) if isinstance(name, str) else name: self._value(
                    each, secret=name if self._is_secret(name, scored) else None
                )
                for name, each in value.items()
            }
        if isinstance(value, list | tuple):
            items = [self._value(each) for each in value]
            return items if isinstance(value, list) else tuple(items)
        return value

    def _is_secret(self, name: object, scored: bool) -> TypeGuard[str]:
        # The `token` of a log probability is a piece of the answer.
        return (
            isinstance(name, str)
            and is_secret(name, "field", self._compiled.names)
            and not (scored and plain_name(name) == "token")
        )

    def _secret_field(self, value: str, name: str) -> str:
        start = credential_of(name, value)
        scheme, text = value[:start], value[start:]
        if text in self._compiled.allow or PLACEHOLDER.fullmatch(_raw(text)[0]):
            return value
        self._know({text: f"the value of the field {name}"})
        return scheme + self._placeholder(text).decode()

    # A secret that comes in pieces

    def _stream(self, body: bytes, *, events: bool) -> bytes:
        """The stream without the secrets that a model spells in several events; those without one stay as they are."""
        pieces = [_Piece(*found.span("data"), found["data"]) for found in (_EVENT if events else _LINE).finditer(body)]
        for leaves in _told_together(pieces):
            if len(leaves) > 1 or self._own:
                self._clean_together(leaves)
        parts, at = [], 0
        for piece in pieces:
            if piece.touched:
                parts += [body[at : piece.start], piece.written()]
                at = piece.end
        return b"".join([*parts, body[at:]]) if parts else body

    def _clean_together(self, leaves: list[_Leaf]) -> None:
        texts = [_raw(leaf.text)[0] for leaf in leaves]
        whole = b"".join(texts)
        edits = self._edits(whole, self._by_rules(whole) if self._own else ())
        if not edits:
            return
        low = next_edit = 0
        for leaf, text in zip(leaves, texts, strict=True):
            high = low + len(text)
            at, parts = low, []
            while next_edit < len(edits) and edits[next_edit][0] < high:
                start, end, placeholder = edits[next_edit]
                if start >= low:
                    parts += [whole[at:start], placeholder]
                at = max(at, min(end, high))
                if end > high:  # The rest of it stands in the next pieces.
                    break
                next_edit += 1
            parts.append(whole[at:high])
            if (clean := b"".join(parts)) != text:
                leaf.put(clean.decode("utf-8", "surrogatepass"))
            low = high

    # What is left after all

    def scan(self, data: bytes) -> list[Hit]:
        """The secrets in bytes that are about to be written; there should be none."""
        return _hits(data, self._scanned(data, lambda text: [*by_look(text), *self._by_rules(text, functions=False)]))

    def _scanned(self, data: bytes, look: Callable[[bytes], list[Found]], depth: int = 0) -> list[Found]:
        found = _apart(data, [*self._allowed(look(data)), *self._standing(data)])
        # Where YAML folds a long text, what is known may go on in the next line, and base64 does.
        unfolded = _Unfolded(data, _FOLD)
        found += unfolded.back(self._standing(unfolded.text))
        if b"\\\n" in data or b"\\\r\n" in data:
            unfolded = _Unfolded(data, _BROKEN)
            found += unfolded.back(self._allowed(look(unfolded.text)))
        for block in _BINARY.finditer(data) if depth == 0 else ():
            if len(block["block"]) >= _SMALLEST and (content := _unpacked(block["block"])):
                at, end = block.span("block")
                seen = {each.text for each in found if at <= each.start < end}
                inside = self._scanned(content, look, depth + 1)
                found += (each._replace(start=at, end=at) for each in inside if each.text not in seen)
        return found

    def _allowed(self, found: Iterable[Found]) -> Iterator[Found]:
        return (each for each in found if each.text not in self._compiled.allow)


def _apart(text: bytes, found: Iterable[Found]) -> list[Found]:
    """What was found, in order, without what stands in something longer, and never a part of a placeholder."""
    placeholders = [match.span() for match in PLACEHOLDER.finditer(text)] if b"REDACTED" in text else []
    starts = [start for start, _ in placeholders]
    apart: list[Found] = []
    outside = (_outside(text, each, placeholders, starts) for each in found)
    for each in sorted(outside, key=lambda each: (each.start, -each.end)):
        start, end = each.start, each.end
        if start >= end:
            continue
        if not apart or start >= apart[-1].end:
            apart.append(each)
        elif end > apart[-1].end:
            first = apart[-1]
            apart[-1] = first._replace(end=end, text=decoded(text[first.start : end]))
    return [_with_digits(text, each) for each in apart]


def _outside(text: bytes, found: Found, placeholders: list[tuple[int, int]], starts: list[int]) -> Found:
    start, end = found.start, found.end
    for at in (bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1) if placeholders else ():
        low, high = placeholders[at] if at >= 0 else (0, 0)
        if low <= start < high:
            start = high
        if low < end < high:
            end = low
    # What stands here may begin with the last letter of an escape, such as the n of `\n`, which must stay.
    if start < end and text[start : start + 1] in (b"n", b"r", b"t", b"b", b"f") and text[start - 1 : start] == b"\\":
        slashes = (
            start - len(text[:start].rstrip(b"\\"))
            if start < 64
            else len(text[start - 64 : start]) - len(text[start - 64 : start].rstrip(b"\\"))
        )
        start += slashes % 2
    if (start, end) == (found.start, found.end):
        return found
    return found._replace(start=start, end=end)


def _with_digits(text: bytes, found: Found) -> Found:
    """With the digits behind it, which would be read as part of the placeholder's number."""
    more = _DIGITS.match(text, found.end)
    if more is None or not more[0]:
        return found
    return found._replace(end=more.end(), text=found.text + more[0].decode())


_DIGITS = re.compile(rb"\d*")


def _raw(text: str) -> tuple[bytes, str]:
    """The text as bytes, and how to read them."""
    try:
        return text.encode("utf-8"), "strict"
    except UnicodeEncodeError:  # Half of a surrogate pair, as JSON can hold.
        return text.encode("utf-8", "surrogatepass"), "surrogatepass"


def _credentials(value: str) -> list[str]:
    """The secrets in a header that proves who is asking."""
    scheme, _, rest = value.strip().rpartition(" ")
    if scheme.lower() == "basic":
        try:
            both = base64.b64decode(rest).decode()
        except (binascii.Error, UnicodeDecodeError):
            return [rest]
        return [rest, both, both.partition(":")[2]]
    if "," in value:  # Digest, and the signatures of AWS.
        return re.findall(r'(?:signature|credential|response|nonce|token)="?([^",/\s]+)', value, re.IGNORECASE)
    return [rest]


def _secret_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in environment:
        secret = is_secret_variable(name)
        if secret or name.endswith(("URL", "URI")):
            value = environment.get(name, "").strip()
            if secret:
                yield name, value
            for found in by_look(encoded(value)) if "@" in value else ():
                yield name, unquote(found.text)


def _is_named(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _called(name: str, function: Callable[[str], Iterable[str]], text: str) -> list[str]:
    try:
        given = function(text)
        secrets = [given] if isinstance(given, str) or given is None else list(given)
    except Exception as error:  # It is somebody else's.
        raise SettingsError(
            f"the function {name} of [tool.agentops.redact] failed: {type(error).__name__}: {error}"
        ) from error
    if isinstance(given, str) or not all(isinstance(secret, str) for secret in secrets):
        raise SettingsError(f"the function {name} of [tool.agentops.redact] must give a list of texts: {given!r}")
    return [secret for secret in secrets if secret]


# --- streams ---------------------------------------------------------------------------------------------------------

_EVENT = re.compile(rb"(?m)^data:[ ]?(?P<data>[^\r\n]*(?:(?:\r\n|\n|\r)data:[^\r\n]*)*)")
_LINE = re.compile(rb"(?P<data>[^\r\n]+)")
_MARKS = ("type", "index", "output_index", "content_index", "summary_index", "item_id")
"""Which of several texts that come at the same time a piece belongs to."""
_MARKS_APART = frozenset(_MARKS)


class _Piece:
    """What one event of a stream says."""

    def __init__(self, start: int, end: int, data: bytes) -> None:
        self.start, self.end = start, end
        self._data = re.sub(rb"(?:\r\n|\n|\r)data:[ ]?", b"\n", data)
        value = parse_json(self._data)
        self._is_json = isinstance(value, dict | list)
        self.value: Any = value if self._is_json else [decoded(self._data)]
        self.touched = False

    def written(self) -> bytes:
        if not self._is_json:
            return encoded(self.value[0]).replace(b"\n", b"\ndata: ")
        return _written_like(self._data, self.value)


class _Leaf(NamedTuple):
    """A text in a piece, and where in it."""

    text: str
    piece: _Piece
    around: Any
    key: str | int

    def put(self, text: str) -> None:
        self.around[self.key] = text
        self.piece.touched = True


_Together = dict[tuple[object, ...], list[_Leaf]]
"""The texts of several pieces, by the place where they stand."""


def _told_together(pieces: Iterable[_Piece]) -> Iterable[list[_Leaf]]:
    """The texts that stand at the same place of several pieces."""
    together: _Together = {}
    for index, piece in enumerate(pieces):
        # What a client says on a WebSocket it says at once, and a replay compares it message by message.
        alone = isinstance(piece.value, dict) and piece.value.get("from") == "client"
        _gather(piece, piece.value, (index,) if alone else (), together)
    return together.values()


def _gather(piece: _Piece, value: Any, place: tuple[object, ...], together: _Together) -> None:
    """Put the texts in this value, a dict or list of the piece, where they belong."""
    items: Iterable[tuple[str | int, Any]]
    if isinstance(value, dict):
        if not _MARKS_APART.isdisjoint(value):
            place = (*place, *(f"{mark}={value[mark]}" for mark in _MARKS if isinstance(value.get(mark), str | int)))
        items = value.items()
    else:
        items = enumerate(value)
    for key, each in items:
        if isinstance(each, str):
            if key not in _MARKS_APART:
                together.setdefault((*place, key), []).append(_Leaf(each, piece, value, key))
        elif isinstance(each, dict | list):
            counted = isinstance(key, int) and isinstance(each, dict) and "index" in each
            _gather(piece, each, (*place, None if counted else key), together)


_NEEDLESS_ESCAPE = re.compile(rb"\\u00(?:2[dDeEfF]|3[0-9aAfF]|[4-7])")
"""Letters of keys that hardly anybody escapes; whoever writes JSON anew would spell them out."""


def _written_like(original: bytes, value: object) -> bytes:
    """The value as JSON, in the style of the original."""
    before = json.loads(original)
    for indent in (None, 2, 4):
        for separators in ((",", ":"), (", ", ": ")) if indent is None else ((",", ": "),):
            for ascii_only in (False, True):
                style: dict[str, Any] = {"indent": indent, "separators": separators, "ensure_ascii": ascii_only}
                if _raw(json.dumps(before, **style))[0] == original.strip():
                    return json.dumps(value, **style).encode("utf-8", "surrogatepass")
    return json.dumps(value, separators=(",", ":")).encode()


# --- what is in a file -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hit:
    """A secret in a file."""

    line: int
    column: int
    kind: str
    """Such as `an OpenAI key`, or `the value of OPENAI_API_KEY`."""
    shown: str
    """Enough of it to find it, and its length."""


def scan(data: bytes, rules: Rules = _NO_RULES, environment: Mapping[str, str] = os.environ) -> list[Hit]:
    """The secrets in a file that somebody wrote, told by their form, their name or the environment."""
    redactor = Redactor(rules, environment=environment)
    names = _compiled(rules).names

    def look(text: bytes) -> list[Found]:
        named = [*in_fields(text, names), *in_assignments(text, names)]
        shown = [each for each in named if len(each.text) >= 6 and not is_template(each.text)]
        return [*by_look(text), *shown, *redactor._by_rules(text)]

    return _hits(data, redactor._scanned(data, look))


_FOLD = re.compile(rb"\\?\r?\n[ \t]*(?:\\(?=[ \t]))?")
_BROKEN = re.compile(rb"\\\r?\n[ \t]*(?:\\(?=[ \t]))?")
_BINARY = re.compile(rb"!!binary[ \t]*\|?[+-]?[ \t]*(?P<block>(?:\r?\n[ \t]+[A-Za-z0-9+/=]+)+|[A-Za-z0-9+/=]+)")
_SMALLEST = 20
"""Letters of base64 in which a secret fits."""
_LARGEST = 20_000_000


class _Unfolded:
    """A text without its line folds."""

    def __init__(self, data: bytes, fold: re.Pattern[bytes]) -> None:
        self._data, self._fold = data, fold
        self.text = fold.sub(b"", data)

    def back(self, found: Iterable[Found]) -> list[Found]:
        """What was found in it, placed in the text with the folds."""
        inside = list(found)
        if not inside:
            return []
        folds, shifts, gone = [], [], 0
        for match in self._fold.finditer(self._data):
            folds.append(match.start() - gone)
            gone += len(match[0])
            shifts.append(gone)

        def at(place: int) -> int:
            index = bisect_right(folds, place) - 1
            return place + (shifts[index] if index >= 0 else 0)

        return [each._replace(start=at(each.start), end=at(each.end - 1) + 1) for each in inside]


def _unpacked(block: bytes) -> bytes | None:
    """What a block of base64 holds, decompressed where it is gzip."""
    try:
        content = base64.b64decode(block)
    except binascii.Error:
        return None
    if content.startswith(b"\x1f\x8b"):
        try:
            return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(content, _LARGEST)
        except zlib.error:
            return content
    return content


def _hits(data: bytes, found: Iterable[Found]) -> list[Hit]:
    hits: dict[tuple[int, int], Hit] = {}
    last = -1
    line, column, counted = 1, 1, 0
    for each in sorted(found, key=lambda each: each.start):
        if each.start < last:
            continue
        last = max(each.end, each.start + 1)
        lines = data.count(b"\n", counted, each.start)
        line, column = line + lines, 1 if lines else column
        column += len(decoded(data[max(counted, data.rfind(b"\n", counted, each.start) + 1) : each.start]))
        counted = each.start
        hits.setdefault((line, column), Hit(line, column, each.kind, _shown(each.text)))
    return list(hits.values())


def _shown(text: str) -> str:
    return f"{text[: min(4, len(text) // 4)]}..., {len(text)} characters"
