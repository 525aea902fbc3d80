"""A trace as what can be drawn: rows in time, a graph, a conversation, two runs side by side.

Pure: values in, values out.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pytest_agentops.accounts import words
from pytest_agentops.regression import Case, Take
from pytest_agentops.trace import Message, ModelCall, Span, ToolCall, Trace

Kind = Literal["agent", "model", "tool", "task", "handoff", "guardrail", "delegation"]
Words = tuple[tuple[Literal["same", "old", "new"], str], ...]


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One thing that happened: a model call, a tool call, or a span that they are part of."""

    id: str
    """What it is called in this trace, such as `model-3`, `tool-3-1` or `span-7`."""
    kind: Kind
    name: str
    depth: int = 0
    """How many rows it is inside of."""
    start: float | None = None
    """Seconds since the run began, as recorded; in a run without times its place in the order."""
    seconds: float | None = None
    """How long it took; None where that is not known."""
    at_most: bool = False
    """Whether the wire alone tells of it: it took no longer than from the reply that asked for it to the request that
    brought its result."""
    status: str = "ok"
    """`ok`, `error`, or what else a tool call may have."""
    tokens: int | None = None
    cost: float | None = None
    call: ModelCall | ToolCall | None = None
    span: Span | None = None
    index: int | None = None
    """Of a model call, its place in `trace.model_calls`."""
    inside: int = 0
    """How many rows are inside of it."""


@dataclass(frozen=True)
class Waterfall:
    """The rows of a run, from top to bottom."""

    rows: tuple[Row, ...] = ()
    timed: bool = True
    """Whether the times are those of the recording; a recording without times is drawn in its order."""

    def shown(self, *, folded: frozenset[str] = frozenset()) -> tuple[Row, ...]:
        """The rows that are not inside of a folded one."""
        found = []
        deepest = None
        for row in self.rows:
            if deepest is not None and row.depth > deepest:
                continue
            deepest = row.depth if row.id in folded else None
            found.append(row)
        return tuple(found)


def extent(rows: Sequence[Row]) -> tuple[float, float]:
    """From when to when these rows reach; what is only around others does not count where there are others."""
    leaves = [row for row in rows if row.call is not None or not row.inside] or list(rows)
    starts = [row.start for row in leaves if row.start is not None]
    ends = [row.start + (row.seconds or 0) for row in leaves if row.start is not None]
    return (min(starts), max(max(ends), min(starts))) if starts else (0.0, 0.0)


def waterfall(trace: Trace) -> Waterfall:
    """What happened, in its order and with its recorded times: agents, model calls and the tools that they asked for.

    A model call is inside of the span that it was asked in, a tool call inside of the model call that asked for it, and
    what happened in a tool inside of the tool call.
    """
    laid = _Laid(trace)
    rows = _stretched(list(laid.rows()))
    timed = any(row.start is not None for row in rows)
    return Waterfall(rows if timed else tuple(_in_order(rows)), timed)


def _stretched(rows: list[Row]) -> tuple[Row, ...]:
    """The rows, those that nobody timed with the time of what is inside of them."""
    for index in reversed(range(len(rows))):
        row, at = rows[index], index + 1
        if row.start is None and row.inside and row.call is None:
            inside = []
            while at <= index + row.inside:
                inside.append(rows[at])
                at += rows[at].inside + 1
            times = [(each.start, each.start + (each.seconds or 0)) for each in inside if each.start is not None]
            if times:
                begin, end = min(start for start, _ in times), max(end for _, end in times)
                rows[index] = replace(row, start=begin, seconds=round(end - begin, 4))
    return tuple(rows)


@dataclass
class _Node:
    row: Row
    order: tuple[float, ...]
    children: list[_Node] = field(default_factory=list)


class _Laid:
    """The things that happened, each inside of what it was part of."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._spans = {span.number: span for span in trace.spans}
        self._next = _answered_at(trace.model_calls)
        self._tops: list[_Node] = []
        self._of_span: dict[int, _Node] = {}
        tool_calls = [call for each in trace.model_calls for call in each.tool_calls]
        in_spans = {call.span: call for call in (*tool_calls, *trace.program_calls) if call.span is not None}
        told = {call.span for call in trace.model_calls if call.id == f"span-{call.span}" or not call.attempts}
        # A framework tells of a model call that the wire told of too: it is one call.
        around: set[int] = set()
        for call in trace.model_calls:
            for span in self._around(call.span):
                if span.number in around:
                    break  # And so is everything that it is inside of.
                around.add(span.number)
        left_out = {
            span.number
            for span in trace.spans
            if span.kind == "model" and (span.number in told or span.number in around)
        }
        asked: dict[int, int] = {}
        for index, call in enumerate(trace.model_calls):
            asked |= {each.span: index for each in call.tool_calls if each.span is not None}
        for span in trace.spans:
            if span.number not in left_out:
                self._of_span[span.number] = _Node(self._span(span, in_spans.get(span.number)), _began(span))
        models = [self._model(index, call) for index, call in enumerate(trace.model_calls)]
        for call, node in zip(trace.model_calls, models, strict=True):
            self._put(node, call.span)
        for number, node in self._of_span.items():
            if number in asked:
                models[asked[number]].children.append(node)
            else:
                self._put(node, self._spans[number].parent)
        self._tops += [
            _Node(_tool_row(f"program-{index}", call), (call.step, 2))
            for index, call in enumerate(trace.program_calls)
            if call.span not in self._of_span
        ]

    def rows(self) -> Iterator[Row]:
        """All of them, from the outside inwards and in their order."""
        waiting = [(0, node) for node in sorted(self._tops, key=_order, reverse=True)]
        found: list[Row] = []
        while waiting:
            depth, node = waiting.pop()
            found.append(replace(node.row, depth=depth))
            waiting += [(depth + 1, each) for each in sorted(node.children, key=_order, reverse=True)]
        inside = [0] * len(found)
        around: list[int] = []
        for index, row in enumerate([*found, Row("", "task", "")]):
            while around and found[around[-1]].depth >= row.depth:
                inside[around[-1]] = index - around[-1] - 1
                around.pop()
            around.append(index)
        return (replace(row, inside=count) for row, count in zip(found, inside, strict=True))

    def _put(self, node: _Node, within: int | None) -> None:
        home = next((self._of_span[each.number] for each in self._around(within) if each.number in self._of_span), None)
        (home.children if home is not None else self._tops).append(node)

    def _around(self, number: int | None) -> Iterator[Span]:
        while number is not None and number in self._spans:
            yield self._spans[number]
            number = self._spans[number].parent  # Smaller than its own, whoever wrote it.

    def _span(self, span: Span, call: ToolCall | None) -> Row:
        row = Row(
            f"span-{span.number}",
            span.kind,
            span.name,
            start=span.started,
            seconds=span.seconds,
            status="error" if span.error is not None else "ok" if span.seconds is not None else "unanswered",
            span=span,
        )
        return row if call is None else replace(row, name=call.name, status=call.status, call=call)

    def _model(self, index: int, call: ModelCall) -> _Node:
        told = self._spans.get(call.span) if call.span is not None and not call.attempts else None
        seconds = told.seconds if told is not None else _seconds(call)
        row = Row(
            f"model-{index}",
            "model",
            call.model or call.provider,
            start=call.started,
            seconds=seconds,
            status="error" if call.error is not None else "ok",
            tokens=call.usage.total_tokens if call.usage is not None else None,
            cost=call.cost,
            call=call,
            span=told,
            index=index,
        )
        node = _Node(row, (call.number, 0) if call.attempts else (*_began(told), 0) if told else (call.number, 0))
        end = None if call.started is None or seconds is None else call.started + seconds
        for at, each in enumerate(call.tool_calls):
            if each.span is None or each.span not in self._spans:
                made = _tool_row(f"tool-{index}-{at}", each)
                until = self._next.get(each.id) if each.id else None
                if end is not None and each.by_provider:
                    made = replace(made, start=call.started, seconds=seconds, at_most=True)
                elif end is not None:
                    took = None if until is None else max(0.0, round(until - end, 4))
                    made = replace(made, start=end, seconds=took, at_most=took is not None)
                node.children.append(_Node(made, (call.number, 0, at)))
        return node


def _order(node: _Node) -> tuple[float, ...]:
    return node.order


def _began(span: Span) -> tuple[float, ...]:
    return (span.after, 1, span.number)


def _seconds(call: ModelCall) -> float | None:
    """How long all tries of a call took, as far as that is known; between them the client may have waited."""
    known = [attempt.latency for attempt in call.attempts if attempt.latency is not None]
    return round(sum(known), 4) if known else None


def _tool_row(name: str, call: ToolCall) -> Row:
    return Row(name, "tool", call.name, seconds=call.seconds, status=call.status, call=call)


def _answered_at(calls: Sequence[ModelCall]) -> dict[str, float]:
    """By the id of a tool call, when the first request began that carries its result."""
    found: dict[str, float] = {}
    for call in calls:
        if call.started is not None:
            for message in call.messages:
                if message.tool_call_id:
                    found.setdefault(message.tool_call_id, call.started)
    return found


def _in_order(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows of a recording without times: each of those that nothing is inside of takes one unit."""
    units = 0
    for row in rows:
        held = max(1, row.inside)
        yield replace(row, start=float(units), seconds=float(held))
        units += not row.inside


# --- graph -----------------------------------------------------------------------------------------------------------

Role = Literal["agent", "tool", "model"]


@dataclass(frozen=True)
class Node:
    """Somebody or something that took part."""

    name: str
    role: Role
    times: int
    """How often an agent asked a model, a tool was called, a model was asked."""
    failed: int = 0
    layer: int = 0
    """Of an agent, how far it is from the one that began; what agents use comes after them all."""

    @property
    def id(self) -> tuple[Role, str]:
        """What edges know it by."""
        return self.role, self.name


@dataclass(frozen=True)
class Edge:
    """What one did with another, and how often."""

    kind: Literal["asks", "calls", "hands over", "delegates"]
    start: tuple[Role, str]
    end: tuple[Role, str]
    times: int


@dataclass(frozen=True)
class Graph:
    """Who took part in a run, and who did what with whom."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    left_out: int = 0
    """Nodes that are not among these, since there would be too many to look at: the ones seen least."""


ALONE = "the program"
"""What stands for the agent of a run that tells of none."""


def graph(trace: Trace, *, most: int = 40) -> Graph:
    """Agents, the tools and models that they used, and how they handed over or delegated; at most so many nodes."""
    nodes: Counter[tuple[Role, str]] = Counter()
    failed: Counter[tuple[Role, str]] = Counter()
    edges: Counter[tuple[Any, tuple[Role, str], tuple[Role, str]]] = Counter()
    between = _between_agents(trace)
    asked_by: dict[int, tuple[Role, str]] = {}
    for call in trace.model_calls:
        agent: tuple[Role, str] = ("agent", call.agent or ALONE)
        model: tuple[Role, str] = ("model", call.model or call.provider)
        nodes[agent] += 1
        nodes[model] += 1
        failed[model] += call.error is not None
        edges["asks", agent, model] += 1
        asked_by |= {each.span: agent for each in call.tool_calls if each.span is not None}
    handed = {span.number for span in trace.spans if span.kind in ("handoff", "delegation")}
    for used in trace.tool_calls:
        if used.span in handed:
            continue
        agent = ("agent", used.agent or ALONE)
        tool: tuple[Role, str] = ("tool", used.name)
        nodes[agent] += used.by_program
        nodes[tool] += 1
        failed[tool] += used.status == "error"
        edges["calls", agent, tool] += 1
    for kind, start, end in between:
        nodes[start] += 0
        nodes[end] += 0
        edges[kind, start, end] += 1
    layers = _layers([key for key in nodes if key[0] == "agent"], edges)
    kept = [key for key, _ in nodes.most_common()]
    kept.sort(key=lambda key: key[0] != "agent")
    shown = frozenset(kept[:most])
    return Graph(
        tuple(
            Node(key[1], key[0], times, failed[key], layers.get(key[1], 0) if key[0] == "agent" else 0)
            for key, times in nodes.items()
            if key in shown
        ),
        tuple(Edge(kind, start, end, times) for (kind, start, end), times in edges.items() if {start, end} <= shown),
        len(nodes) - len(shown),
    )


def _between_agents(trace: Trace) -> Iterator[tuple[Any, tuple[Role, str], tuple[Role, str]]]:
    """Each hand-over and each delegation, from which agent to which."""
    agents: dict[int | None, str | None] = {}
    for span in sorted(trace.spans, key=lambda span: span.number):  # What a span is inside of has a smaller number.
        agents[span.number] = span.name if span.kind == "agent" else agents.get(span.parent)
    for span in trace.spans:
        outer = agents.get(span.parent)
        if span.kind == "agent" and outer not in (None, span.name):
            yield "delegates", ("agent", str(outer)), ("agent", span.name)
        elif span.kind == "delegation":
            yield "delegates", ("agent", outer or ALONE), ("agent", span.name)
        elif span.kind == "handoff":
            start, arrow, end = span.name.partition(" -> ")
            if arrow and start and end:
                yield "hands over", ("agent", start), ("agent", end)
            else:
                yield "hands over", ("agent", outer or ALONE), ("agent", span.name)


def _layers(agents: Sequence[tuple[Role, str]], edges: Iterable[tuple[Any, Any, Any]]) -> dict[str, int]:
    """How far each agent is from those that nobody led to; of a ring, from the first one that did anything."""
    led: dict[str, list[str]] = {}
    for _, start, end in edges:
        if start[0] == end[0] == "agent":
            led.setdefault(start[1], []).append(end[1])
    names = [name for _, name in agents]
    reached = {end for ends in led.values() for end in ends}
    begun = [name for name in names if name not in reached] or names[:1]
    found = dict.fromkeys(begun, 0)
    waiting = list(begun)
    for name in waiting:
        for end in led.get(name, ()):
            if end not in found:
                found[end] = found[name] + 1
                waiting.append(end)
    return {name: found.get(name, 0) for name in names}


# --- conversation ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spoken:
    """What one model call added to the conversation: the messages that were new in it, and its answer."""

    index: int
    """The place of the call in `trace.model_calls`."""
    call: ModelCall
    new: tuple[Message, ...] = ()
    again: int = 0
    """Messages that were sent again, as they stood in the call that this one goes on from."""
    dropped: int = 0
    """Messages of that call which were not sent any more."""
    fresh: bool = True
    """Whether a conversation begins here."""


def conversation(trace: Trace) -> tuple[Spoken, ...]:
    """What was said, each message once, where it was first sent.

    A model is sent the whole conversation each time. A call that carries the answer of an earlier one goes on from it,
    and what that one had sent is not repeated.
    """
    found = []
    threads: list[tuple[object, Counter[object]]] = []
    for index, call in enumerate(trace.model_calls):
        keys = [_known_by(message) for message in call.messages]
        sent = Counter(keys)
        before = next((thread for thread in reversed(threads) if sent[thread[0]]), None)
        if before is None:
            found.append(Spoken(index, call, call.messages))
        else:
            left = before[1].copy()
            new = []
            for message, key in zip(call.messages, keys, strict=True):
                if left[key] > 0:
                    left[key] -= 1
                else:
                    new.append(message)
            again = len(call.messages) - len(new)
            found.append(Spoken(index, call, tuple(new), again, left.total(), fresh=False))
            threads.remove(before)
        if call.operation == "chat" and call.error is None:
            answer = _known_by(Message("assistant", str(call.response), call.tool_calls))
            threads.append((answer, sent + Counter([answer])))
            del threads[:-_MOST_THREADS]
    return tuple(found)


_MOST_THREADS = 50
"""Conversations that go on at the same time; one that rests for longer than that is told anew."""


def _known_by(message: Message) -> object:
    content = message.content if isinstance(message.content, str) else json.dumps(message.content, default=str)
    asked = tuple((call.name, call.id) for call in message.tool_calls)
    return message.role, content or "", asked, message.tool_call_id


# --- side by side ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """A tool call of one run and its like of another one; None where there is none."""

    kind: Literal["same", "changed", "added", "removed"]
    one: ToolCall | None
    other: ToolCall | None


def beside(one: Sequence[ToolCall], other: Sequence[ToolCall]) -> Iterator[Beside]:
    """The calls of both runs from top to bottom, each beside its like: the fewest that are added or removed."""
    names = [call.name for call in one], [call.name for call in other]
    # Of many calls the frequent names are no landmarks, or the time would grow with the square.
    matcher = difflib.SequenceMatcher(None, *names, autojunk=len(one) * len(other) > 250_000)
    for _, start, end, other_start, other_end in matcher.get_opcodes():
        for index in range(max(end - start, other_end - other_start)):
            was = one[start + index] if start + index < end else None
            now = other[other_start + index] if other_start + index < other_end else None
            if was is None or now is None:
                yield Beside("added" if was is None else "removed", was, now)
            else:
                yield Beside("same" if str(was) == str(now) else "changed", was, now)


@dataclass(frozen=True)
class SideBySide:
    """Two runs, aligned."""

    calls: tuple[Beside, ...]
    answer: Words
    """The final answers, cut where they differ in a word."""
    case: Case
    """The same two as a comparison reads them: figures, findings, models, answers that are JSON."""

    @property
    def same(self) -> bool:
        """Whether they called the same tools with the same arguments and came to the same answer."""
        return all(each.kind == "same" for each in self.calls) and all(kind == "same" for kind, _ in self.answer)


def aligned(one: Trace, other: Trace, name: str = "") -> SideBySide:
    """Two runs beside each other: tool calls, final answers, figures."""
    return SideBySide(
        tuple(beside(one.tool_calls, other.tool_calls)),
        tuple(words(str(one.response), str(other.response))),
        Case(name, (Take.seen(one, outcome=None),), (Take.seen(other, outcome=None),)),
    )


def arguments_apart(each: Beside) -> tuple[Words, Words]:
    """The arguments of two calls and their results, cut where they differ in a word; empty where they are equal.

    Texts that are too long for it to be quick, of which a run may have hundreds, are not cut.
    """
    if each.one is None or each.other is None:
        return (), ()
    return tuple(_apart(written(side(each.one)), written(side(each.other))) for side in _SIDES)  # type: ignore[return-value]


def _apart(one: str, other: str) -> Words:
    return () if one == other or len(one) + len(other) > _LONG else tuple(words(one, other))


_SIDES: tuple[Callable[[ToolCall], Any], ...] = (
    lambda call: call.malformed if call.malformed is not None else call.arguments,
    lambda call: call.result,
)


def written(value: object) -> str:
    """A value of a call as a person reads it: text as it is, JSON indented where it is long; text that is JSON, too."""
    if isinstance(value, str):
        if value[:1] not in ("{", "["):
            return value
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    if value is None or value == {}:
        return ""
    try:
        line = json.dumps(value, ensure_ascii=False, default=str)
        return line if len(line) <= _SHORT else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (ValueError, RecursionError):
        return str(value)


_SHORT = 72
_LONG = 8_000
