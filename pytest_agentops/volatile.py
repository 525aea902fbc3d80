"""Values that change from run to run: random ids, times, temporary paths. A request that carries one never recurs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Literal

Kind = Literal["uuid", "time", "date", "temporary path", "object address"]

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_ISO_DATE = r"(?:19|20)\d\d-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])"
_FOLDERS = {
    re.escape(tempfile.gettempdir()),
    "/tmp",
    "/var/folders",
    "/private/var/folders",
    r"[A-Z]:\\Users\\[^\\\s]+\\AppData\\Local\\Temp",
}
_TEMPORARY = "|".join(sorted(_FOLDERS, key=len, reverse=True))
_PATTERNS: Mapping[Kind, str] = {
    "temporary path": rf"(?:{_TEMPORARY})[/\\](?:[^\s\"'<>|:*?)\]}},;]*[^\s\"'<>|:*?)\]}},;.])",
    "uuid": r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-f]{32})(?![0-9A-Za-z])",
    "object address": r"(?<=\bat )0x[0-9a-fA-F]{6,16}\b",
    "time": (
        rf"(?<!\d){_ISO_DATE}[T ][0-2]\d:[0-5]\d(?::[0-5]\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
        r"|(?<![\d.])(?:1[5-9]|2[01])\d{8}(?:\d{3}|\d{6})?(?:\.\d+)?(?![\d.])"
        r"|(?<![\d:])[0-2]\d:[0-5]\d:[0-5]\d(?:\.\d+)?(?![\d:])"
    ),
    "date": (
        rf"(?<!\d){_ISO_DATE}(?!\d)"
        rf"|\b{_MONTH}\.? \d\d?(?:st|nd|rd|th)?,? (?:19|20)\d\d\b|\b\d\d?\.? {_MONTH}\.?,? (?:19|20)\d\d\b"
        rf"|\b(?:[0-3]?\d[/.]){{2}}(?:19|20)\d\d\b"
    ),
}
_HINT = re.compile(r"\d\d|/tmp|/var/|Temp|0x|[0-9a-fA-F]{8}")
"""What every volatile value has in it; most texts have none and are not looked at further."""


@cache
def _any() -> re.Pattern[str]:
    """Compiled when first asked for: a replay in which everything matches never does."""
    return re.compile("|".join(f"(?P<{kind.replace(' ', '_')}>{pattern})" for kind, pattern in _PATTERNS.items()))


@dataclass(frozen=True)
class Volatile:
    """One value in a request that looks as if the next run would send another."""

    pointer: str
    """A JSON pointer (RFC 6901) to the text or number that it stands in."""
    kind: Kind
    value: str
    whole: bool
    """Whether it is the whole text; else it stands inside of one."""


def normalised(value: object) -> object:
    """The value with every volatile stretch replaced by the name of its kind, and white space folded."""
    if isinstance(value, str):
        return " ".join(_any().sub(lambda found: f"<{found.lastgroup}>", value).split())
    if isinstance(value, int | float) and not isinstance(value, bool) and _any().fullmatch(str(value)):
        return "<time>"
    return value


def kinds_in(text: str) -> tuple[Kind, ...]:
    """Which kinds of volatile values a text holds, each once."""
    return tuple(dict.fromkeys(_kind(found) for found in _any().finditer(text)))


def volatile_in(body: Any, *, now: datetime, known: Callable[[str], bool]) -> Iterator[Volatile]:
    """The values of a JSON body that look volatile.

    Times count when they are near `now`; `known` tells of values that came from somewhere that does not change, such
    as an earlier reply or the test itself.
    """
    for pointer, leaf in _leaves(body):
        text = str(leaf)
        if not _HINT.search(text):
            continue
        for found in _any().finditer(text):
            kind = _kind(found)
            if (kind not in ("time", "date") or _is_near(found[0], now)) and not known(found[0]):
                yield Volatile(pointer, kind, found[0], found[0] == text)


def json_path(pointer: str, body: Any = None) -> str:
    """A JSON pointer as a JSON path (RFC 9535), which is what `ignore` takes."""
    path = "$"
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        inside_list = isinstance(body, list)
        body = _inner(body, name)
        if inside_list:
            path += f"[{name}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            path += f".{name}"
        else:
            path += "['" + name.replace("\\", "\\\\").replace("'", "\\'") + "']"
    return path


def _inner(body: Any, name: str) -> Any:
    if isinstance(body, Mapping):
        return body.get(name)
    return body[int(name)] if isinstance(body, list) and name.isdigit() and int(name) < len(body) else None


def _kind(found: re.Match[str]) -> Kind:
    kind: Any = str(found.lastgroup).replace("_", " ")
    return kind  # type: ignore[no-any-return] # The groups are named after the kinds.


def _leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, str | int | float]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{pointer}/{index}")
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield pointer, value


def _is_near(text: str, now: datetime) -> bool:
    moment = _moment(text)
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return abs(moment - now) < timedelta(days=2)
    if isinstance(moment, date):
        return abs(moment - now.date()) <= timedelta(days=1)
    return False


def _moment(text: str) -> datetime | date | None:
    if re.fullmatch(r"[\d.]+", text) and text.count(".") < 2:
        number = float(text)
        while number > 1e11:
            number /= 1000
        return datetime.fromtimestamp(number, UTC)
    for read in (_iso, _spelled("%B %d %Y"), _spelled("%b %d %Y"), _spelled("%d %B %Y"), _spelled("%d %b %Y")):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _iso(text: str) -> datetime | date:
    return date.fromisoformat(text) if len(text) == len("2026-01-01") else datetime.fromisoformat(text)


def _spelled(form: str) -> Callable[[str], date]:
    def read(text: str) -> date:
        plain = re.sub(r"(\d)(?:st|nd|rd|th)\b|[.,]", lambda found: found[1] or "", text)
        return datetime.strptime(plain, form).replace(tzinfo=UTC).date()

    return read
