"""What secrets look like: keys of a known form, the names that hold secrets, and the ways to spell one.

Everything here is pure and knows no project: bytes and names in, places out.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote_to_bytes

PLACEHOLDER = re.compile(rb"REDACTED(?:-\d+)?")
"""What stands where a secret was; the bare word is that of cassettes of format 1."""


class Found(NamedTuple):
    """A secret in a text."""

    start: int
    end: int
    text: str
    """The secret itself, whatever its spelling here."""
    kind: str
    learn: bool = True
    """Whether it is one wherever it stands, and not for its place alone."""


# --- keys that are told by their look --------------------------------------------------------------------------------

_ESCAPES = (rb"\\[nrtbf]", rb"\\u[0-9A-Fa-f]{4}", rb"%[0-9A-Fa-f]{2}")
"""In a JSON text what stands before a key may be the last letter of an escape, such as `\\n` or `\\u003d`."""
_LETTERS = rb"[A-Za-z0-9_-]"
"""No key begins behind one of these or ends before one, so that base64url holds none by chance."""
_BASE64 = rb"[A-Za-z0-9_+/=-]"
"""The same for a key whose letters might all be those of plain base64."""

_RARE = b"@_-JKGI.Bb"
"""Letters by which a text is searched for keys, the rarer first: one run over the text for each of them."""

_TEMPLATE = re.compile(rb"[$%{<*].*|(?i:x+|(?:your|my)[-_].*|[a-z]+|replace.?me|change.?me)", re.DOTALL)
"""What stands for a secret in documentation, and words."""


@dataclass(frozen=True)
class Look:
    """One kind of key that can be told by its form."""

    kind: str
    begin: bytes
    """Without this in the text there is no such key in it."""
    pattern: re.Pattern[bytes]
    """A group named `secret` is the key, else all of it."""
    real: Callable[[re.Match[bytes]], bool] | None = None
    """A last look at what was found."""


def _keys(
    kind: str,
    begins: str,
    rest: bytes,
    *,
    apart: bytes = _LETTERS,
    real: Callable[[re.Match[bytes]], bool] | None = None,
) -> Iterator[Look]:
    for begin in begins.encode().split():
        literal = re.escape(begin)
        # The boundary is looked at behind the literal: a pattern that starts with one is searched far faster.
        left = b"|".join([rb"(?<!%b%b)" % (apart, literal), *(rb"(?<=%b%b)" % (each, literal) for each in _ESCAPES)])
        yield Look(kind, begin, re.compile(rb"%b(?:%b)%b(?!%b)" % (literal, left, rest, apart)), real)


def _is_random(found: re.Match[bytes]) -> bool:
    """Whether this is neither words with dashes nor a line of base64: three letters are soon found."""
    classes = sum(bool(re.search(letters, found[0][3:])) for letters in (rb"\d", rb"[a-z]", rb"[A-Z]"))
    if classes < 3 and not re.search(rb"(?=[a-z]*\d|[A-Z]*\d)[A-Za-z0-9]{16}", found[0]):
        return False
    before = found.string[max(0, found.start() - 160) : found.start()]
    line = re.search(rb"([A-Za-z0-9_-]{50,})\\?(?:\\[nr]|[\r\n ])+\Z", before)
    return line is None or line[1].startswith(b"sk-")


def _is_no_template(found: re.Match[bytes]) -> bool:
    return not _TEMPLATE.fullmatch(found["secret"])


def _is_user_and_password(found: re.Match[bytes]) -> bool:
    try:
        text = base64.b64decode(found["secret"].rstrip(b"=") + b"==").decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return ":" in text and text.isprintable()


LOOKS = (
    *_keys("an OpenAI key", "sk-proj- sk-svcacct- sk-admin- sk-None-", rb"[A-Za-z0-9_-]{20,250}"),
    *_keys("an Anthropic key", "sk-ant-", rb"[A-Za-z0-9_-]{20,250}"),
    *_keys("an OpenRouter key", "sk-or-", rb"[A-Za-z0-9_-]{20,250}"),
    *_keys("a Langfuse key", "sk-lf- pk-lf-", rb"[A-Za-z0-9_-]{20,100}"),
    *_keys("an API key", "sk-", rb"[A-Za-z0-9_-]{20,200}", real=_is_random),
    *_keys("a Google key", "AIza", rb"[0-9A-Za-z_-]{35}", apart=_BASE64),
    *_keys("a Google key", "AQ.Ab ya29. GOCSPX-", rb"[0-9A-Za-z_-]{24,1000}"),
    *_keys("a Groq key", "gsk_", rb"[A-Za-z0-9]{20,100}"),
    *_keys("a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", rb"[A-Za-z0-9]{36,255}"),
    *_keys("a GitHub token", "github_pat_", rb"[A-Za-z0-9_]{22,255}"),
    *_keys(
        "a GitLab token",
        "glpat- gldt- glrt- glcbt- glptt- gloas-",
        rb"[A-Za-z0-9_-]{20,60}(?:\.[A-Za-z0-9_]{2,20}){0,3}",
    ),
    *_keys("a Slack token", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", rb"[A-Za-z0-9-]{10,250}"),
    *_keys("an AWS key id", "AKIA ASIA", rb"[A-Z0-9]{16}", apart=_BASE64),
    *_keys("an Amazon Bedrock key", "ABSK", rb"[A-Za-z0-9+/]{80,200}={0,2}", apart=_BASE64),
    *_keys("a Hugging Face token", "hf_", rb"[A-Za-z0-9]{30,40}"),
    *_keys("a Stripe key", "sk_live_ sk_test_ rk_live_ rk_test_", rb"[A-Za-z0-9]{16,250}"),
    *_keys("a Stripe secret", "whsec_", rb"[A-Za-z0-9+/]{24,100}={0,2}"),
    *_keys("an npm token", "npm_", rb"[A-Za-z0-9]{36}"),
    *_keys("a PyPI token", "pypi-", rb"[A-Za-z0-9_-]{50,300}"),
    *_keys("a SendGrid key", "SG.", rb"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    *_keys("a Replicate token", "r8_", rb"[A-Za-z0-9]{30,40}"),
    *_keys("a Perplexity key", "pplx-", rb"[A-Za-z0-9]{32,64}"),
    *_keys("an xAI key", "xai-", rb"[A-Za-z0-9]{40,100}"),
    *_keys("a Tavily key", "tvly-", rb"[A-Za-z0-9-]{20,80}"),
    *_keys("a LangSmith key", "lsv2_", rb"[a-z]{2}_[A-Za-z0-9_]{20,100}"),
    *_keys("a Cerebras key", "csk-", rb"[A-Za-z0-9]{30,80}"),
    *_keys("an NVIDIA key", "nvapi-", rb"[A-Za-z0-9_-]{40,100}"),
    *_keys("a Pinecone key", "pcsk_", rb"[A-Za-z0-9_]{30,100}"),
    *_keys("a Together key", "tgp_v1_", rb"[A-Za-z0-9_-]{30,100}"),
    *_keys("a Logfire token", "pylf_v", rb"[A-Za-z0-9_]{30,100}"),
    *_keys("a JSON web token", "eyJ", rb"[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8,2000}"),
    *(
        Look(
            "a bearer token",
            begin,
            re.compile(begin + rb"(?P<secret>[A-Za-z0-9._~+/-]{16,4000}={0,2})(?!%b)" % _BASE64),
            _is_no_template,
        )
        for begin in (b"Bearer ", b"bearer ")
    ),
    Look(
        "a user name and password",
        b"Basic ",
        re.compile(rb"Basic (?P<secret>[A-Za-z0-9+/]{8,500}={0,2})(?!%b)" % _BASE64),
        _is_user_and_password,
    ),
    Look(
        "the credentials in a URL",
        b"@",
        re.compile(rb"""://(?<=[A-Za-z0-9]://)[^\s/?#"'<>\\@:]{0,200}:(?P<secret>[^\s/?#"'<>\\@]{1,300})@"""),
        _is_no_template,
    ),
    Look(
        "a Slack webhook",
        b"hooks.slack.com/services/",
        re.compile(rb"hooks\.slack\.com/services/(?P<secret>[A-Za-z0-9/]{20,100})"),
    ),
    Look(
        "a private key",
        b"PRIVATE KEY",
        re.compile(
            rb"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            rb"""(?:[^-"'<>{}]|-(?!----)){64,20000}+(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"""
        ),
    ),
)


def _gates() -> Iterator[tuple[re.Pattern[bytes], tuple[Look, ...]]]:
    """The looks by the rarest letter of how they begin, each group behind one quick search.

    A pattern that starts with one letter is searched at the speed of memchr, which fifty searches for short texts, or
    one for any of them, are far from.
    """
    for letter in _RARE:
        looks = tuple(look for look in LOOKS if min(look.begin, key=_rank) == letter)
        sign = bytes([letter])
        ways = {
            rb"(?<=%b)(?=%b)" % (re.escape(before + sign), re.escape(after))
            for before, _, after in (look.begin.partition(sign) for look in looks)
        }
        yield re.compile(rb"%b(?:%b)" % (re.escape(sign), b"|".join(sorted(ways)))), looks


def _rank(letter: int) -> int:
    return _RARE.index(letter) if letter in _RARE else 1000 + letter


def by_look(text: bytes) -> Iterator[Found]:
    """The keys in a text that can be told by their form."""
    for gate, looks in _GATES:
        if gate.search(text):
            for look in looks:
                if look.begin in text:
                    yield from _looked(look, text)


def _looked(look: Look, text: bytes) -> Iterator[Found]:
    group = "secret" if "secret" in look.pattern.groupindex else 0
    for found in look.pattern.finditer(text):
        if look.real is None or look.real(found):
            start, end = found.span(group)
            yield Found(start, end, _unfolded(found[group]), look.kind)


def _unfolded(text: bytes) -> str:
    # A private key is the same one whether its lines end in newlines or in the escapes of a JSON text.
    return decoded(re.sub(rb"(?:\\+[nr]|[\r\n]+[ \t]*)+", b"\n", text) if b"-----" in text else text)


# --- names that hold secrets -----------------------------------------------------------------------------------------

_NAMES = frozenset(
    "accesskeyid apitoken authkey authorization authtoken awsaccesskeyid csrftoken idtoken jwt passcode "
    "proxyauthorization secret securitytoken servicetoken subscriptionkey token xsrftoken".split()
)
"""Names of secrets, without case and punctuation; compared whole, so that `max_tokens` is none."""
_ENDS = tuple(
    "password passwd passphrase apikey secretkey accesskey privatekey encryptionkey signingkey masterkey accountkey "
    "sharedaccesskey subscriptionkey accesstoken refreshtoken apitoken authtoken bearertoken sessiontoken "
    "securitytoken oauthtoken bottoken usertoken githubtoken gitlabtoken sastoken clientassertion codeverifier secret "
    "connectionstring".split()
)
"""How names of secrets end, whatever they begin with, such as `new_password` and `stripe_secret_key`."""
_COMMON = frozenset("auth key sas sig signature xamzcredential xamzsignature xgoogcredential xgoogsignature".split())
"""Names that hold a secret in a query, and anything at all in a body."""
_WEAK = _COMMON | {"token"}
_ABOUT = re.compile(r"(?:max|min|num|total|count|is|has|needs|show|forgot)(?=[_-]|[A-Z])")
"""How a name begins that only speaks of a secret."""

_STEMS = (
    b"key", b"keyid", b"token", b"secret", b"password", b"passwd", b"passphrase", b"passcode", b"authorization", b"jwt",
    b"assertion", b"verifier", b"string", b"credential", b"credentials", b"pass", b"pwd", b"dsn", b"pat",
)  # fmt: skip
"""How a name must end to be looked at more closely."""

Place = Literal["query", "field"]


@lru_cache(maxsize=8192)
def is_secret(name: str, place: Place = "field", more: frozenset[str] = frozenset()) -> bool:
    """Whether a query parameter or a field of this name holds a secret; `more` are plain names that do, too."""
    name = name.strip()
    plain = plain_name(name)
    if not plain or len(name) > 80:
        return False
    if plain in _NAMES or plain in more or (place == "query" and plain in _COMMON):
        return True
    if plain.endswith(_ENDS) and not _ABOUT.match(name):
        return True
    return re.fullmatch(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", name) is not None and is_secret_variable(name)


def plain_name(name: str) -> str:
    """The name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_PARTS = frozenset(
    "KEY KEYS APIKEY TOKEN TOKENS SECRET SECRETS PASSWORD PASSWORDS PASSWD PASS PASSPHRASE PASSCODE PWD CREDENTIAL "
    "CREDENTIALS CREDS DSN PAT AUTH AUTHORIZATION COOKIE JWT WEBHOOK".split()
)
_PART_ENDS = ("APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "ACCESSKEY", "SECRETKEY", "PRIVATEKEY")
_HARMLESS = frozenset(
    "PUBLIC PATH FILE FILENAME DIR FOLDER SOCK SOCKET HOST PORT NAME MODEL TYPE KIND MODE METHOD ALGORITHM ALG LIMIT "
    "COUNT MAX MIN NUM TOTAL SIZE LENGTH LEN TTL TIMEOUT EXPIRY EXPIRES URL URI ENDPOINT REGION EOS BOS PAD UNK "
    "MASK SEP CLS STOP LANG LAYOUT FINGERPRINT".split()
)
"""What a name is about that only speaks of a secret, such as SSH_AUTH_SOCK."""


@lru_cache(maxsize=4096)
def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of this name holds a secret."""
    parts = [part for part in re.split(r"[^A-Z0-9]+", name.upper()) if part]
    if len(parts) == 1 and parts[0] in ("PWD", "KEY", "AUTH", "PASS", "PAT", "COOKIE", "WEBHOOK", "TOKENS", "KEYS"):
        return False
    if not _HARMLESS.isdisjoint(parts):
        return False
    return any(part in _PARTS or part.endswith(_PART_ENDS) for part in parts)


_ORDINARY = re.compile(
    r"[A-Z]?[a-z]{1,20}|[A-Z]{1,20}"  # a word
    r"|[\d.,:_-]{1,19}"  # a number, a date
    r"|(?:~|\.{1,2})?(?:/[\w.@ -]+)+/?|[A-Za-z]:\\[^:]*"  # a path
    r"|[a-z][a-z0-9+.-]*://[^@?]*"  # an address
    r"|[$%{<*].*|x+",  # what stands for a value
    re.DOTALL,
)
_PATH_LENGTH = 38
"""A path of this length and more without a dot might be a key in base64."""


_LONGEST = 4096


def is_worth_knowing(text: str) -> bool:
    """Whether a secret can be looked for everywhere: shorter ones, and words, occur in honest text.

    Longer ones, such as files, are not searched for.
    """
    if not 12 <= len(text) <= _LONGEST or PLACEHOLDER.fullmatch(text.encode("utf-8", "replace")):
        return False
    if text.startswith("/") and len(text) >= _PATH_LENGTH and "." not in text:
        return True
    return not _ORDINARY.fullmatch(text)


# --- fields, parameters and assignments -------------------------------------------------------------------------------

_BLANK = rb"(?:\s|\\+[nrt])*+"


@lru_cache(maxsize=64)
def _named(more: frozenset[str]) -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """What finds the names of secrets: of fields between either kind of quotes, and before an equals sign."""
    ends = dict.fromkeys([*_STEMS, *(b"%c" % name.encode()[-1] for name in sorted(more))])
    after = rb"(?:" + rb"|".join(rb"(?<=%b)" % re.escape(end) for end in ends) + rb")"
    name = rb"(?P<name>[A-Za-z$_][\w.$ -]{1,79}+)" + after
    query = [*ends, b"sig", b"signature", b"auth", b"sas"]
    sign = [rb"(?<=%b%b=)" % (re.escape(end), blank) for end in query for blank in (b"", b" ")]
    return (
        re.compile(rb'(?i)"' + name + rb'(?P<slashes>\\*+)"' + _BLANK + rb":" + _BLANK + rb'(?:\[\s*+)?(?P=slashes)"'),
        re.compile(rb"(?i)'" + name + rb"'\s*+:\s*+'(?P<value>(?:[^'\"\\]|\\[^\"])++)'"),
        re.compile(rb"(?i)=(?:" + rb"|".join(sign) + rb")"),
    )


def _value_of(depth: int) -> re.Pattern[bytes]:
    """The rest of a JSON string; `depth` is how many backslashes one stands for, being carried in other strings."""
    return re.compile(
        rb'(?:[^"\\]|\\{%d}|\\{%d}"|\\{%d}[^"\\]|\\{1,%d}(?![\\"]))*+'
        % (2 * depth, 2 * depth - 1, depth, max(1, depth - 1))
    )


_VALUES = {depth - 1: (depth, _value_of(depth)) for depth in (1, 2, 4, 8)}
"""By the number of backslashes before a quote: JSON, JSON carried in it as text, and twice more."""

_SCHEME = re.compile(r"(?:bearer|basic|token|bot|apikey|api-key|key|digest)[ ]+(?=\S)", re.IGNORECASE)


def in_fields(text: bytes, more: frozenset[str] = frozenset()) -> Iterator[Found]:
    """The values of JSON fields with the name of a secret, wherever in the text that JSON stands."""
    double, single, _ = _named(more)
    for found in double.finditer(text):
        name = found["name"].decode()
        if len(found["slashes"]) not in _VALUES or not is_secret(name, "field", more):
            continue
        depth, value = _VALUES[len(found["slashes"])]
        match = value.match(text, found.end())
        if match is None or not match[0]:
            continue
        start, end = match.span()
        if plain_name(name) == "token" and _is_piece_of_an_answer(text, found.start(), end):
            continue
        start += credential_of(name, decoded(text[start : start + 40])) if end - start > 8 else 0
        if not PLACEHOLDER.fullmatch(text, start, end):
            yield Found(start, end, _unescaped(text[start:end], depth), f"the value of the field {name}")
    if b"'" in text:
        for found in single.finditer(text):
            name = found["name"].decode()
            if is_secret(name, "field", more) and not PLACEHOLDER.fullmatch(found["value"]):
                yield Found(*found.span("value"), decoded(found["value"]), f"the value of the field {name}")


def credential_of(name: str, value: str) -> int:
    """Where in the value of such a field the credential begins, behind a scheme such as `Bearer`."""
    scheme = _SCHEME.match(value) if plain_name(name).endswith("authorization") else None
    return scheme.end() if scheme else 0


def is_template(text: str) -> bool:
    """Whether this only stands for a secret, as in documentation."""
    return _TEMPLATE.fullmatch(encoded(text)) is not None


def _is_piece_of_an_answer(text: bytes, start: int, end: int) -> bool:
    """Whether this `token` is that of a log probability."""
    before, after = text[max(0, start - 300) : start], text[end : end + 300]
    beside = before[before.rfind(b"{") + 1 :] + after[: after.find(b"}") if b"}" in after else len(after)]
    return any(name in beside for name in (b"logprob", b"logProb", b"bytes", b"tokenId", b"token_id"))


def _unescaped(text: bytes, depth: int) -> str:
    plain = decoded(text)
    while depth and "\\" in plain:
        try:
            plain = str(json.loads(f'"{plain}"', strict=False))
        except ValueError:
            break
        depth //= 2
    return plain


_NAME_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_IN_QUERY = re.compile(rb"(?:[?&;#]|\\u0026|&amp;|%3[fF]|%26)\Z")
_QUERY_VALUE = re.compile(rb"""(?P<value>[^&\s"'<>\\#`()\[\]{},;]{1,8000}+)""")
_ASSIGNED, _QUOTED = (
    re.compile(rb"""[ ]?(?P<quote>\\*["']%b)(?P<value>[^\s"'<>\\&;,()\[\]{}$`]{8,1000}+)""" % often)
    for often in (b"?", b"")
)


def in_assignments(text: bytes, more: frozenset[str] = frozenset()) -> Iterator[Found]:
    """The values of `?api_key=...` in an address, and of `API_KEY=...` and `password="..."` in a text."""
    sign = _named(more)[2]
    found = sign.search(text)
    while found:
        value = _argument(text, found, more)
        if value is not None:
            yield value
        # A value may hold what looks like one more, and is not looked through for it.
        found = sign.search(text, value.end if value is not None else found.end())


def _argument(text: bytes, sign: re.Match[bytes], more: frozenset[str]) -> Found | None:
    before = text[max(0, sign.start() - 80) : sign.start()]
    bare = before.removesuffix(b" ")
    around = bare.rstrip(_NAME_LETTERS)
    name = bare[len(around) :].decode()
    in_query = _IN_QUERY.search(around, max(0, len(around) - 6)) is not None
    if not is_secret(name, "query" if in_query else "field", more):
        return None
    # In code, what is assigned to a name such as this may be anything but a literal.
    bare_value = in_query or name == name.upper() or plain_name(name) in _CONFIGURED
    value = (_QUERY_VALUE if in_query else _ASSIGNED if bare_value else _QUOTED).match(text, sign.end())
    if value is None:
        return None
    start, end = value.span("value")
    secret = text[start:end]
    if PLACEHOLDER.fullmatch(secret) or _TEMPLATE.fullmatch(secret):
        return None
    if in_query:
        if plain_name(name) in _WEAK and len(secret) < 16:
            return None
        secret = unquote_to_bytes(secret)
    elif not value["quote"] and len(secret) < 20 and not re.search(rb"\d", secret):
        return None
    return Found(start, end, decoded(secret), f"the value of {name}")


_CONFIGURED = ("accountkey", "sharedaccesskey", "awssecretaccesskey")
"""What stands without quotes in configuration, whatever its case."""

_PART = re.compile(
    rb'(?i)content-disposition:\s*form-data;[^\r\n]{0,200}?\bname="(?P<name>[^"\r\n]{1,80})"[^\r\n]*\r?\n'
    rb"(?:[^\r\n]+\r?\n){0,10}\r?\n"
)


def in_parts(text: bytes, more: frozenset[str] = frozenset()) -> Iterator[Found]:
    """The values of the fields of a multipart form that have the name of a secret."""
    for found in _PART.finditer(text):
        name = decoded(found["name"])
        if is_secret(name, "field", more):
            end = text.find(b"\n--", found.end())
            value = text[found.end() : end if end >= 0 else len(text)].removesuffix(b"\r")
            if value and not PLACEHOLDER.fullmatch(value):
                yield Found(found.end(), found.end() + len(value), decoded(value), f"the value of the field {name}")
            if end < 0:
                return


# --- how one secret can be spelled -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spelling:
    """A secret as it is, escaped in JSON however deep, percent-encoded, and in base64 wherever a block begins."""

    text: str

    @cached_property
    def core(self) -> bytes:
        """The longest stretch that is the same in each spelling but base64."""
        return max(re.findall(r"[A-Za-z0-9_.~-]+", self.text), key=len, default="").encode()

    @cached_property
    def _pattern(self) -> re.Pattern[bytes] | None:
        """None where all of it is the same."""
        return None if len(self.core) == len(self.text) else re.compile(b"".join(map(_ways_to_spell, self.text)))

    @cached_property
    def blocks(self) -> tuple[bytes, ...]:
        """What is the same in base64 whatever stands before and after, for each of the three places to begin."""
        data = encoded(self.text)
        found: dict[bytes, None] = {}
        for before in range(3 if len(data) >= 12 else 0):
            for code in (base64.b64encode, base64.urlsafe_b64encode):
                found[code(bytes(before) + data)[(0, 2, 3)[before] : 8 * (before + len(data)) // 6]] = None
        return tuple(found)

    def find(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where it stands."""
        if self._pattern is not None:
            if self.core in text:
                yield from (found.span() for found in self._pattern.finditer(text))
        else:
            yield from _occurrences(self.core, text)
        for block in self.blocks:
            for start, end in _occurrences(block, text):
                yield start, self._end_of_base64(text, start, end)

    def _end_of_base64(self, text: bytes, start: int, end: int) -> int:
        """Where it ends if it stands alone in base64: the last letter there may hold nothing but its last bits."""
        last = base64.b64encode(encoded(self.text)).rstrip(b"=")
        whole = re.compile(rb"%b(?:={1,2}|(?:%%3[dD]){1,2})?(?![A-Za-z0-9+/_=-])" % re.escape(last[end - start :]))
        found = whole.match(text, end)
        return found.end() if found else end


def _occurrences(needle: bytes, text: bytes) -> Iterator[tuple[int, int]]:
    start = text.find(needle)
    while start >= 0:
        yield start, start + len(needle)
        start = text.find(needle, start + len(needle))


def _ways_to_spell(letter: str) -> bytes:
    if re.fullmatch(r"[A-Za-z0-9_.~-]", letter):
        return re.escape(letter).encode()
    raw = encoded(letter)
    percent = b"".join(rb"%%(?:25)*(?i:%02x)" % byte for byte in raw)
    units = letter.encode("utf-16-be", "surrogatepass")
    escaped = [b"".join(rb"\\{1,15}u(?i:%02x%02x)" % (units[at], units[at + 1]) for at in range(0, len(units), 2))]
    escaped += [rb"\\{1,15}x(?i:%02x)" % ord(letter)] if ord(letter) < 256 else []
    escaped += [rb"\\{1,15}U(?i:%08x)" % ord(letter)] if ord(letter) > 65535 else []
    # JSON has a few of these, YAML all of them.
    short = dict(zip("\0\a\b\t\v\f\x1b\x85\xa0\u2028\u2029", b"0abtvfeN_LP", strict=True))
    escaped += [rb"\\{1,15}%c" % short[letter]] if letter in short else []
    others = {
        "\n": rb"(?:\\{1,15}[rn]|[\r\n]+[ \t]*)+",
        "\r": rb"(?:\\{1,15}[rn]|[\r\n]+[ \t]*)*",
        "\\": rb"\\{1,16}",
        " ": rb"\+|\r?\n[ \t]*",
        "&": rb"&amp;",
        "<": rb"&lt;",
        ">": rb"&gt;",
        "'": rb"''|&#39;",
    }
    ways = [rb"\\{0,15}" + re.escape(raw) if letter in "\"'/" else re.escape(raw), percent, *escaped]
    return rb"(?:" + rb"|".join([*([others[letter]] if letter in others else []), *ways]) + rb")"


@lru_cache(maxsize=2048)
def spelling(text: str) -> Spelling:
    """The spellings of a secret."""
    return Spelling(text)


def decoded(text: bytes) -> str:
    """The bytes as text that gives the same bytes again."""
    return text.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The bytes of such a text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # Half of a surrogate pair, as JSON can hold.
        return text.encode("utf-8", "surrogatepass")


# --- personal data ---------------------------------------------------------------------------------------------------

_MAIL = re.compile(
    rb"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_PHONE = re.compile(
    rb"(?<![\w+/=.,:-])\+[1-9]\d{0,2}(?:[ /-]?\(?\d{1,5}\)?){2,6}+(?![\w+/=]|[.,:]\d)"
    rb"|(?<![\w+/=.,:-])(?:\(\d{3}\)[ ]?|\d{3}-)\d{3}[-. ]\d{4}(?![\w+/=-]|[.,:]\d)"
)
_CARD = re.compile(rb"(?<![\w+/=.,:-])[2-6](?:[ -]?\d){12,18}(?![\w+/=-]|[.,:]\d)")
_PREFIX = re.compile(rb"4|5[1-5]|2[2-7]|3[47]|35|30[0-5]|3[68]|6(?:011|4[4-9]|5)")

PERSONAL = ("email", "phone", "card")
"""The kinds of personal data that can be taken out."""


def personal(text: bytes, kinds: Collection[str]) -> Iterator[Found]:
    """Personal data of these kinds."""
    if "email" in kinds and b"@" in text:
        for found in _MAIL.finditer(text):
            yield Found(*found.span(), decoded(found[0]), "an e-mail address", learn=False)
    if "phone" in kinds:
        for found in _PHONE.finditer(text):
            if 8 <= len(re.findall(rb"\d", found[0])) <= 15:
                yield Found(*found.span(), decoded(found[0]), "a phone number", learn=False)
    if "card" in kinds:
        for found in _CARD.finditer(text):
            digits = re.sub(rb"\D", b"", found[0])
            if 13 <= len(digits) <= 19 and _PREFIX.match(digits) and _luhn(digits):
                yield Found(*found.span(), decoded(digits), "a card number", learn=False)


def _luhn(digits: bytes) -> bool:
    numbers = [digit - 48 for digit in reversed(digits)]
    return sum(numbers[0::2] + [sum(divmod(2 * number, 10)) for number in numbers[1::2]]) % 10 == 0


_GATES = tuple(_gates())
