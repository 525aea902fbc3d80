"""Stretches of a run that the program itself tells of: agents, tools, tasks.

    from pytest_agentops import agent, span, task, tool

    @tool
    def search(query: str) -> list[str]: ...

    @agent
    async def researcher(question: str) -> str:
        with span("rank", kind="task"):
            ...

What is decorated runs as it is while nothing records, for about a microsecond at most. Nothing here imports what
records: a recording that opens sets `keeper`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import json
import math
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Protocol, TypeVar, overload

from pytest_agentops.exchange import Exchange
from pytest_agentops.trace import Span, SpanKind

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(eq=False)
class OpenSpan:
    """A span that is being recorded; what is said of it goes into it until the trace is read."""

    kind: SpanKind | None
    """None for what only groups others and is not shown, and as long as it is not known."""
    name: str
    origin: str = "agentops"
    parent: OpenSpan | None = None
    """On the way to a recording, the one it was begun in; the recording may know one further inside."""
    input: object = None
    output: object = None
    error: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    """Under the names that OpenTelemetry gives them."""
    started: float = 0.0
    """Seconds since the recording began."""
    ended: float | None = None
    """None while it is open."""

    def failed(self, error: BaseException) -> None:
        """It ended with this exception."""
        try:
            said = _ADDRESS.sub("", str(error))
        except Exception:  # The program's own exception goes on, whatever it says of itself.
            said = ""
        self.error = f"{type(error).__name__}: {said}" if said else type(error).__name__


class Keeper(Protocol):
    """What keeps spans: an open recording."""

    def begin(self, span: OpenSpan) -> None:
        """The span begins here and now."""

    def end(self, span: OpenSpan) -> None:
        """It ends."""


keeper: Callable[[], Keeper | None] | None = None
"""Who keeps what happens here and now; None where no recording is open at all."""

current: ContextVar[OpenSpan | None] = ContextVar("agentops_span", default=None)
"""The innermost of our own spans that this runs in."""


@contextmanager
def span(name: str, *, kind: SpanKind = "task", **attributes: Any) -> Iterator[OpenSpan]:
    """What happens inside the block is one stretch of the run, with this name, in the trace's `spans`.

    Of a kind `agent`, its model calls are that agent's; of a kind `tool`, it is a tool call. `output` may be set on
    what it gives; other attributes are kept as they are. Where nothing records, the block runs and that is all.

    Example:
        ```python
        with span("rank the hits", kind="task") as ranking:
            ranking.output = rank(hits)
        ```
    """
    opened = OpenSpan(kind, name, attributes=attributes)
    kept = keeper() if keeper is not None else None
    if kept is None:
        yield opened
        return
    kept.begin(opened)
    token = current.set(opened)
    try:
        yield opened
    except BaseException as error:
        opened.failed(error)
        raise
    finally:
        _leave(token)
        kept.end(opened)


def _leave(token: Token[OpenSpan | None]) -> None:
    """Go back to the span around; where a generator goes on in another context than it began in, that has its own."""
    with suppress(ValueError):
        current.reset(token)


@overload
def agent(decorated: Decorated, /) -> Decorated: ...
@overload
def agent(*, name: str | None = None) -> Callable[[Decorated], Decorated]: ...
def agent(decorated: Any = None, /, *, name: str | None = None) -> Any:
    """What this function, or any public method of this class, does is this agent's doing.

    Functions may be plain, async, generators or async generators. The name is that of the function or class, unless
    one is given.
    """
    return _decorator("agent", decorated, name)


@overload
def tool(decorated: Decorated, /) -> Decorated: ...
@overload
def tool(*, name: str | None = None) -> Callable[[Decorated], Decorated]: ...
def tool(decorated: Any = None, /, *, name: str | None = None) -> Any:
    """Calling this function is a tool call: the one that a model asked for, or one that the program makes itself.

    Of a class, calling its instances is. A tool that runs inside another tool is part of that one's work.

    Raises:
        TypeError: a class whose instances cannot be called.
    """
    return _decorator("tool", decorated, name)


@overload
def task(decorated: Decorated, /) -> Decorated: ...
@overload
def task(*, name: str | None = None) -> Callable[[Decorated], Decorated]: ...
def task(decorated: Any = None, /, *, name: str | None = None) -> Any:
    """What this function, or any public method of this class, does is one step of the work, named in the spans."""
    return _decorator("task", decorated, name)


def _decorator(kind: SpanKind, decorated: Any, name: Any) -> Any:
    if decorated is None:
        return lambda given: _decorator(kind, given, name)
    if isinstance(decorated, type):
        return _class(kind, decorated, name or decorated.__name__)
    if isinstance(decorated, staticmethod | classmethod):
        return type(decorated)(_decorator(kind, decorated.__func__, name))
    if not callable(decorated):
        raise TypeError(f"@{kind} decorates functions and classes, not {decorated!r}; a name is given as name=...")
    return _function(kind, decorated, name or getattr(decorated, "__name__", type(decorated).__name__))


def _class(kind: SpanKind, decorated: type, name: str) -> type:
    if kind == "tool":
        if "__call__" not in vars(decorated):
            raise TypeError(f"@tool on a class needs __call__; {decorated.__name__} has none: decorate the method")
        methods = ["__call__"]
    else:
        methods = [
            each
            for each, value in vars(decorated).items()
            if inspect.isfunction(value) and (each == "__call__" or not each.startswith("_"))
        ]
    for each in methods:
        setattr(decorated, each, _function(kind, vars(decorated)[each], name, of_class=kind != "tool"))
    return decorated


def _function(kind: SpanKind, function: Any, name: str, *, of_class: bool = False) -> Any:
    """The function, each call of which is a span; `of_class` where it is a method because its whole class is.

    What such an object calls on itself belongs to the span that it is in.
    """
    signature = functools.cache(functools.partial(_signature, function))

    def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Running | None:
        kept = keeper() if keeper is not None else None
        if kept is None:
            return None
        owner = args[0] if of_class and args and _is_method(signature()) else None
        if owner is not None and _at_work(owner):
            return None
        begun = OpenSpan(kind, name, input=_arguments(signature(), args, kwargs))
        if owner is not None:
            begun.attributes[_OBJECT] = owner
        kept.begin(begun)
        return _Running(begun, kept)

    if inspect.isasyncgenfunction(function):
        return _as_async_generator(function, opened)
    if inspect.isgeneratorfunction(function):
        return _as_generator(function, opened)
    if inspect.iscoroutinefunction(function):
        return _as_coroutine(function, opened)
    return _as_function(function, opened)


def _as_function(function: Any, opened: _Opens) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if keeper is None or (running := opened(args, kwargs)) is None:
            return function(*args, **kwargs)
        with running.whole():
            running.output = function(*args, **kwargs)
        return running.output

    return wrapped


def _as_coroutine(function: Any, opened: _Opens) -> Any:
    @functools.wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if (running := opened(args, kwargs)) is None:
            return await function(*args, **kwargs)
        with running.whole():
            running.output = await function(*args, **kwargs)
        return running.output

    return wrapped


def _as_generator(function: Any, opened: _Opens) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if (running := opened(args, kwargs)) is None:
            return (yield from function(*args, **kwargs))
        pieces, source = [], function(*args, **kwargs)
        step = functools.partial(next, source)
        try:
            while True:
                with running.here():
                    try:
                        piece = step()
                    except StopIteration as stop:
                        return stop.value
                pieces.append(piece)
                try:
                    sent = yield piece
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = functools.partial(source.throw, error)
                else:
                    step = functools.partial(source.send, sent)
        except BaseException as error:
            running.failed(error)
            raise
        finally:
            try:
                with running.here():
                    source.close()
            finally:
                running.output = _whole(pieces)
                running.end()

    return wrapped


def _as_async_generator(function: Any, opened: _Opens) -> Any:
    """There is no `yield from` for these, so that what is sent and thrown is handed on by hand, recording or not."""

    @functools.wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        running = opened(args, kwargs)
        here = running.here if running is not None else nullcontext
        pieces, source = [], function(*args, **kwargs)
        step = source.__anext__()
        try:
            while True:
                with here():
                    try:
                        piece = await step
                    except StopAsyncIteration:
                        return
                if running is not None:
                    pieces.append(piece)
                try:
                    sent = yield piece
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = source.athrow(error)
                else:
                    step = source.asend(sent)
        except BaseException as error:
            if running is not None:
                running.failed(error)
            raise
        finally:
            try:
                with here():
                    await source.aclose()
            finally:
                if running is not None:
                    running.output = _whole(pieces)
                    running.end()

    return wrapped


_OBJECT = "agentops.object"
"""The object whose method this is: what its methods call on itself is part of the same span. It is never kept."""


class _Running:
    """A span that a decorated function runs in; a generator runs in it from one piece to the next."""

    def __init__(self, opened: OpenSpan, keeper: Keeper) -> None:
        self.output: Any = None
        """What the function gives."""
        self._span, self._keeper = opened, keeper

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All that the function does, from its begin to its end."""
        try:
            with self.here():
                yield
        except BaseException as error:
            self.failed(error)
            raise
        finally:
            self.end()

    @contextmanager
    def here(self) -> Iterator[None]:
        token = current.set(self._span)
        try:
            yield
        finally:
            _leave(token)

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, GeneratorExit):  # The reader left, which is no fault of the one who is read.
            self._span.failed(error)

    def end(self) -> None:
        self._span.output = self.output
        self._keeper.end(self._span)


_Opens = Callable[[tuple[Any, ...], dict[str, Any]], "_Running | None"]
"""Opens the span of a call with these arguments; None where nobody keeps it."""


def _whole(pieces: list[Any]) -> object:
    return "".join(pieces) if pieces and all(isinstance(piece, str) for piece in pieces) else pieces


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except Exception:  # It may have none, or one with names that are there for type checkers alone.
        return None


def _is_method(signature: inspect.Signature | None) -> bool:
    return signature is not None and next(iter(signature.parameters), None) == "self"


def _at_work(owner: object) -> bool:
    """Whether this object is the one whose span this runs in, be it by way of a tool of its own."""
    around = current.get()
    while around is not None and around.kind != "agent" and _OBJECT not in around.attributes:
        around = around.parent
    return around is not None and around.attributes.get(_OBJECT) is owner


def _arguments(signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    try:
        bound = signature.bind(*args, **kwargs) if signature is not None else None
    except TypeError:  # The call itself will say what is wrong with it.
        bound = None
    if bound is None:
        return {**{str(index): value for index, value in enumerate(args)}, **kwargs}
    given = dict(bound.arguments)
    for name, parameter in signature.parameters.items() if signature is not None else ():
        if name in given and parameter.kind is inspect.Parameter.VAR_KEYWORD:
            given |= given.pop(name)
    return {name: value for name, value in given.items() if name not in ("self", "cls")}


# --- what is kept of a value -----------------------------------------------------------------------------------------

SERVES = "agentops.serves"
"""Set on a span of a server in this process, inside that of its client: where the client's call went over the wire, the
wire tells of it, and in a replay nobody serves. It is never kept."""

LONGEST = 20_000
"""Texts of more characters are cut: what a program hands to its own functions has no bounds."""


_MOST = 1_000
"""Of a longer list, this many are kept."""

_IN_ALL = 10_000
"""So many values are kept of one, however it branches."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Where an object lies in memory, which is elsewhere in every run."""


def plain(value: object, depth: int = 6) -> Any:
    """The value as JSON knows it; what JSON does not know, as the text that shows it. The same one in every run."""
    return _plain(value, depth, iter(range(_IN_ALL)))


def _plain(value: object, depth: int, left: Iterator[int]) -> Any:
    if next(left, None) is None:
        return "…"
    try:
        return _known(value, depth, left)
    except Exception:  # What the program hands around is none of our business.
        return _text(_shown(value))


def _known(value: Any, depth: int, left: Iterator[int]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONGEST_NUMBER else _text(hex(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        return _text(value)
    if depth == 0:
        return _text(_shown(value))
    if isinstance(value, Mapping):
        items = itertools.islice(list(value.items()), _MOST)
        return {_text(_shown(key)): _plain(inner, depth - 1, left) for key, inner in items}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth - 1, left) for inner in value[:_MOST]]
    if isinstance(value, set | frozenset):
        kept = [_plain(inner, depth - 1, left) for inner in itertools.islice(list(value), _MOST)]
        return sorted(kept, key=lambda inner: json.dumps(inner, sort_keys=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {each.name: _plain(getattr(value, each.name, None), depth - 1, left) for each in fields}
    if hasattr(type(value), "model_dump"):
        return _known(value.model_dump(mode="json"), depth, left)
    return _text(_shown(value))


_LONGEST_NUMBER = 1_000
"""Bits; of numbers with thousands of digits Python itself refuses to say which they are."""


def _text(text: str) -> str:
    text = str.encode(text, "utf-8", "backslashreplace").decode()
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 1_000]}{_BEGUN.sub('', text[LONGEST - 1_000 : LONGEST])}… ({len(text):,} characters)"


_BEGUN = re.compile(r"""(?<=[\s"'=:,;&])[^\s"'=:,;&]+\Z""")
"""A word that a cut would go through: of a secret, half would not be known for one."""


def _shown(value: object) -> str:
    try:
        return _ADDRESS.sub("", str(value))
    except Exception:  # A text for it is all that is wanted.
        return _ADDRESS.sub("", object.__repr__(value))


# --- the spans of one recording --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What was told of a run so far."""

    spans: tuple[Span, ...]
    within: Mapping[int, int]
    """The numbers of the innermost spans of exchanges, by the exchanges' numbers."""


@dataclass(frozen=True)
class Brought:
    """What others had recorded while they answered, which a replay of the answer brings along."""

    exchanges: tuple[Exchange, ...] = ()
    spans: tuple[Span, ...] = ()


class Diary:
    """The spans of one recording, as they happen."""

    def __init__(self) -> None:
        self._spans: list[OpenSpan] = []
        self._order: dict[int, int] = {}
        self._sent_before: dict[int, int] = {}
        self._parts: dict[int, tuple[int, ...]] = {}
        self._open: dict[int, list[OpenSpan]] = {}
        self._beside: dict[int, tuple[OpenSpan, ...]] = {}
        self._taken: dict[tuple[int, str], tuple[object, Any]] = {}
        self._sent: list[int] = []
        self._within: dict[int, OpenSpan] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._spans) + sum(span.ended is not None for span in self._spans)

    def __contains__(self, span: OpenSpan | None) -> bool:
        return id(span) in self._order

    def begin(self, span: OpenSpan, parts: tuple[int, ...]) -> None:
        """This span begins, inside its parent, as part of these parts of the recording."""
        with self._lock:
            self._order[id(span)] = len(self._spans)
            self._sent_before[id(span)] = len(self._sent)
            self._parts[id(span)] = parts
            self._spans.append(span)
            if span.origin == "langchain":
                # A graph runs nodes beside each other; which of them is faster is another one in every run.
                siblings = self._open.setdefault(id(span.parent), [])
                self._beside[id(span)] = tuple(siblings)
                siblings.append(span)
        self._take(span, "input")

    def end(self, span: OpenSpan) -> None:
        """This span has ended."""
        if span not in self:
            return
        self._take(span, "output")
        with self._lock:
            if span in (siblings := self._open.get(id(span.parent), [])):
                siblings.remove(span)

    def _take(self, span: OpenSpan, side: str) -> None:
        """Keep what was handed in or out as it is now: the program may go on to change it."""
        value = getattr(span, side)
        self._taken[id(span), side] = value, plain(value)

    def _as_taken(self, span: OpenSpan, side: str) -> Any:
        value = getattr(span, side)
        before, taken = self._taken.get((id(span), side), (None, None))
        return taken if before is value else plain(value)

    def sent(self, number: int, span: OpenSpan | None) -> None:
        """The exchange of this number is sent, inside this span."""
        with self._lock:
            self._sent.append(number)
            if span is not None:
                self._within[number] = span

    def innermost(self, candidates: Iterable[OpenSpan | None]) -> OpenSpan | None:
        """Which of these began last and is of this recording, those that have not ended before those that have."""
        ours = [span for span in candidates if span is not None and span in self]
        return max(ours, key=lambda span: (span.ended is None, self._order[id(span)]), default=None)

    def told(self, clean: Callable[[object], Any], part: int | None = None, brought: Brought | None = None) -> Told:
        """The spans so far, what was handed around as `clean` leaves it; with `part`, those of this part alone.

        `brought` stands among them as if it had happened. Their numbers do not depend on which of two threads was
        faster: spans stand in the order of the exchanges that were sent in them, and where there are none, of their
        beginning.
        """
        with self._lock:
            spans, sent, within = list(self._spans), list(self._sent), dict(self._within)
        order, preset = dict(self._order), {}
        if brought is not None:
            opened: dict[int, OpenSpan] = {}
            for told in brought.spans:
                again = opened[told.number] = _opened(told, opened.get(told.parent or 0))
                order[id(again)], preset[id(again)] = len(spans), told.after
                spans.append(again)
            within |= {each.number: opened[each.span] for each in brought.exchanges if each.span in opened}
        if not spans:
            return Told((), {})
        subtree = _sent_inside(spans, within)
        after = self._positions([span for span in spans if id(span) not in preset], sent, subtree) | preset

        def place(span: OpenSpan) -> tuple[float, int]:
            return min(subtree[id(span)], default=after[id(span)] + 0.5), order[id(span)]

        kept = [
            span
            for span in _outer_first(spans, place)
            if span.kind
            and (part is None or part in self._parts.get(id(span), ()))
            and not (SERVES in span.attributes and subtree.get(id(span.parent)))
        ]
        numbers = {id(span): number for number, span in enumerate(kept, 1)}
        asked = {id(span) for span in within.values()}

        def said(span: OpenSpan) -> tuple[Any, Any]:
            if span.kind == "model" and id(span) in asked:  # The wire tells what was said.
                return None, None
            return self._as_taken(span, "input"), self._as_taken(span, "output")

        return Told(
            tuple(_as_told(span, numbers, after[id(span)], clean, said(span)) for span in kept),
            {number: numbers[id(at)] for number, span in within.items() if (at := _shown_at(span, numbers))},
        )

    def _positions(self, spans: list[OpenSpan], sent: list[int], subtree: Mapping[int, set[int]]) -> dict[int, int]:
        """The last exchange before each span: of those sent in the span around it, so that what runs beside it does
        not count; where there was none, that of the span around it."""
        # For each span around others, where in the order of sending its exchanges stand, and the last one up to there.
        moments: dict[int, list[int]] = {}
        newest: dict[int, list[int]] = {}
        inside = {
            0: set(sent),
            **{id(span.parent): subtree.get(id(span.parent), set()) for span in spans if span.parent},
        }
        for key, numbers in inside.items():
            moments[key] = [at for at, number in enumerate(sent) if number in numbers]
            newest[key] = list(accumulate((sent[at] for at in moments[key]), max))
        after: dict[int, int] = {}
        for span in spans:  # A parent began before its children.
            around = id(span.parent) if span.parent is not None and id(span.parent) in subtree else 0
            count = bisect_left(moments[around], self._sent_before[id(span)])
            beside = set().union(*(subtree[id(each)] for each in self._beside.get(id(span), ())))
            counted = (sent[at] for at in moments[around][:count] if sent[at] not in beside) if beside else ()
            newest_here = max(counted, default=0) if beside else newest[around][count - 1] if count else 0
            after[id(span)] = newest_here or after.get(around, 0)
        return after


def _sent_inside(spans: Iterable[OpenSpan], within: Mapping[int, OpenSpan]) -> dict[int, set[int]]:
    """The exchanges that were sent in each of these spans, or in one inside of it."""
    found: dict[int, set[int]] = {id(span): set() for span in spans}
    for number, innermost in within.items():
        at: OpenSpan | None = innermost
        while at is not None and id(at) in found:
            found[id(at)].add(number)
            at = at.parent
    return found


def _outer_first(spans: Sequence[OpenSpan], place: Callable[[OpenSpan], tuple[float, int]]) -> Iterator[OpenSpan]:
    """Each span before those inside of it, and those beside each other by their place."""
    known = {id(span) for span in spans}
    inside: dict[int, list[OpenSpan]] = {}
    for span in spans:
        around = id(span.parent) if span.parent is not None else 0
        inside.setdefault(around if around in known else 0, []).append(span)
    waiting = sorted(inside.get(0, ()), key=place, reverse=True)
    while waiting:
        yield (span := waiting.pop())
        waiting += sorted(inside.get(id(span), ()), key=place, reverse=True)


def _as_told(
    span: OpenSpan, numbers: Mapping[int, int], after: int, clean: Callable[[object], Any], said: tuple[Any, Any]
) -> Span:
    """The span as a value, with what was handed in and out."""
    parent = _shown_at(span.parent, numbers)
    assert span.kind is not None
    attributes = {name: plain(value) for name, value in span.attributes.items() if name not in (_OBJECT, SERVES)}
    return Span(
        number=numbers[id(span)],
        kind=span.kind,
        name=str(clean(plain(span.name))),
        parent=None if parent is None else numbers[id(parent)],
        origin=span.origin,
        after=after,
        input=clean(said[0]),
        output=clean(said[1]),
        error=None if span.error is None else str(clean(plain(span.error))),
        started=round(span.started, 4),
        seconds=None if span.ended is None else round(span.ended - span.started, 4),
        attributes=clean(attributes),
    )


def _opened(span: Span, parent: OpenSpan | None) -> OpenSpan:
    """A span that was recorded, as it was when it had ended."""
    started = span.started or 0.0
    ended = None if span.seconds is None else started + span.seconds
    attributes = dict(span.attributes)
    return OpenSpan(
        span.kind, span.name, span.origin, parent, span.input, span.output, span.error, attributes, started, ended
    )


def _shown_at(span: OpenSpan | None, numbers: Mapping[int, int]) -> OpenSpan | None:
    """The innermost of this span and those around it that has a number."""
    while span is not None and id(span) not in numbers:
        span = span.parent
    return span


def timed_as(spans: Sequence[Span], recorded: Sequence[Span]) -> tuple[Span, ...]:
    """The spans of a replay with the times of those that were recorded at the same place; None for what is new."""
    times = dict(_places(recorded))
    return tuple(
        replace(span, started=then.started, seconds=then.seconds)
        if (then := times.get(place)) is not None
        else replace(span, started=None, seconds=None if span.seconds is None else 0.0)
        for place, span in _places(spans)
    )


def _places(spans: Sequence[Span]) -> Iterator[tuple[tuple[object, ...], Span]]:
    """Each span with where it stands: what it is called, inside what, and the how manyth of these it is."""
    places: dict[int | None, tuple[object, ...]] = {None: ()}
    counts: Counter[tuple[object, ...]] = Counter()
    for span in spans:
        path = (*places.get(span.parent, ()), span.kind, span.name)
        counts[path] += 1
        places[span.number] = place = (*path, counts[path])
        yield place, span
