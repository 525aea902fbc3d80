"""What spans add to the calls that were read off the wire: agents, real tool times, tools that never touched it.

Pure: calls and spans in, calls out. A call seen on the wire and in a span is one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_agentops.trace import ModelCall, ResponseText, Span, ToolCall, Usage

TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_NAME = "gen_ai.tool.name"
"""The tool that a handoff is asked for with."""
RESPONSE_ID = "gen_ai.response.id"
STATUS = "agentops.tool.status"
"""`denied` or `pending`, where a framework tells that a tool was not run."""


_ACTS = ("tool", "delegation", "handoff")
"""Spans that may be what a model asked for."""


@dataclass(frozen=True)
class Woven:
    """The calls of a run, with what its spans told."""

    model_calls: tuple[ModelCall, ...]
    program_calls: tuple[ToolCall, ...]


def woven(calls: Sequence[ModelCall], spans: Sequence[Span]) -> Woven:
    """These calls, in order, with what the spans tell of them.

    A model call belongs to the innermost span that it was asked in. A span of a tool is the tool call that has its id,
    else the first one of its name and arguments that was asked for before it began; where there is none, the program
    ran the tool on its own. A handoff answers the call that asked for it. Tools that run inside a tool, and not in an
    agent of its own, are part of that one's work.
    """
    if not spans:
        return _in_steps(calls, (), _Tree(()))
    tree = _Tree(spans)
    calls = list(_with_agents(_with_unseen(calls, tree), tree))
    answered, program = _with_tools(calls, tree)
    return _in_steps(_without_nested(answered, tree), program, tree)


class _Tree:
    """The spans, and who is inside whom."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = {span.number: span for span in spans}

    def around(self, number: int | None) -> Iterator[Span]:
        """This span and those that it is part of, from the inside."""
        seen: set[int] = set()
        while number is not None and number in self.spans and number not in seen:
            seen.add(number)
            yield self.spans[number]
            number = self.spans[number].parent

    def is_part_of_an_act(self, span: Span) -> bool:
        """Whether it is work inside a tool or a delegation; what an agent inside of one does is its own."""
        innermost = next((each.kind for each in self.around(span.parent) if each.kind in ("agent", *_ACTS)), None)
        return innermost in _ACTS

    def agents(self, number: int | None) -> list[str]:
        """The agents at work there, from the inside; one that several tell of counts once."""
        names = [span.name for span in self.around(number) if span.kind == "agent"]
        return [name for index, name in enumerate(names) if name not in names[:index]]


# --- model calls -----------------------------------------------------------------------------------------------------


def _with_unseen(calls: Sequence[ModelCall], tree: _Tree) -> list[ModelCall]:
    """The calls, and those that only a span knows: a model in the same process, or one behind a cache."""
    known = {call.id for call in calls}
    within = {around.number for call in calls for around in tree.around(call.span)}
    unseen = [
        _told(span)
        for span in tree.spans.values()
        if span.kind == "model"
        and span.output is not None
        and str(span.attributes.get(RESPONSE_ID)) not in known
        and span.number not in within
        and not any(around.kind == "model" for around in tree.around(span.parent))
    ]
    placed = {id(call): (call.number, 0) for call in calls}
    placed |= {id(call): (tree.spans[call.span or 0].after, 1) for call in unseen}
    return sorted([*calls, *unseen], key=lambda call: placed[id(call)])


def _told(span: Span) -> ModelCall:
    said = span.attributes
    told = [said.get(f"gen_ai.usage.{side}_tokens") for side in ("input", "output")]
    counts = [
        int(count) for count in told if isinstance(count, int) or (isinstance(count, float) and count.is_integer())
    ]
    usage = Usage(*counts) if len(counts) == 2 else None
    answer = span.output if isinstance(span.output, Mapping) else {"text": span.output}
    calls = asked if isinstance(asked := answer.get("tool_calls"), list) else ()
    return ModelCall(
        id=str(said.get(RESPONSE_ID) or f"span-{span.number}"),
        provider=str(said.get("gen_ai.provider.name") or said.get("gen_ai.system") or span.origin),
        model=str(said.get("gen_ai.response.model") or said.get("gen_ai.request.model") or span.name),
        response=ResponseText(answer.get("text") or ""),
        tool_calls=tuple(
            ToolCall(str(each.get("name")), each.get("arguments") or {}, id=str(each.get("id") or ""))
            for each in calls
            if isinstance(each, Mapping)
        ),
        usage=usage,
        finish_reason="",
        started=span.started,
        span=span.number,
    )


def _with_agents(calls: Sequence[ModelCall], tree: _Tree) -> Iterator[ModelCall]:
    for call in calls:
        names = tree.agents(call.span)
        agent = names[0] if names else call.agent
        yield replace(call, agent=agent, tool_calls=tuple(replace(each, agent=agent) for each in call.tool_calls))


def _without_nested(calls: Sequence[ModelCall], tree: _Tree) -> list[ModelCall]:
    """The calls, those marked whose agent works for another one that has an answer of its own."""
    depths = [len(tree.agents(call.span)) for call in calls]
    answering = [depth for call, depth in zip(calls, depths, strict=True) if call.is_answer]
    top = min(answering, default=0)
    return [replace(call, nested=depth > top) for call, depth in zip(calls, depths, strict=True)]


# --- tool calls ------------------------------------------------------------------------------------------------------


def _with_tools(calls: Sequence[ModelCall], tree: _Tree) -> tuple[list[ModelCall], list[Span]]:
    """The calls with what the tools' spans tell, and the spans of tools that no model had asked for."""
    waiting = _Waiting(calls)
    ids = {span.parent: span.attributes[TOOL_CALL_ID] for span in tree.spans.values() if _has_id(span)}
    joined: dict[tuple[int, int], Span] = {}
    told: dict[str, tuple[int, int]] = {}
    own: list[Span] = []
    for span in sorted(tree.spans.values(), key=lambda span: (span.after, span.number)):
        if span.kind not in _ACTS or tree.is_part_of_an_act(span):
            continue
        # A framework may tell of the call inside of what a decorator tells of.
        wanted = span.attributes.get(TOOL_CALL_ID, ids.get(span.number))
        place = waiting.take(span, wanted, next(iter(tree.agents(span.number)), None))
        if place is None and wanted is not None:
            # One that was stopped and is resumed, or tried once more, is the same call; how it came out at last counts.
            place = told.get(str(wanted))
        if place is not None:
            joined[place] = span
            told[calls[place[0]].tool_calls[place[1]].id] = place
        elif span.kind != "handoff" and STATUS not in span.attributes:  # One that was held back did not run.
            own.append(span)
    for span in list(own):
        if (place := waiting.take_from_elsewhere(span, tree)) is not None:
            own.remove(span)
            joined[place] = span
    return [
        replace(
            call,
            tool_calls=tuple(
                _told_of(each, joined[index, at]) if (index, at) in joined else each
                for at, each in enumerate(call.tool_calls)
            ),
        )
        for index, call in enumerate(calls)
    ], own


def _has_id(span: Span) -> bool:
    return span.kind == "tool" and span.parent is not None and TOOL_CALL_ID in span.attributes


class _Waiting:
    """The tool calls that no span has told of yet, by what they can be found with."""

    def __init__(self, calls: Sequence[ModelCall]) -> None:
        self._calls = calls
        self._by_id: dict[object, list[tuple[int, int]]] = {}
        self._by_name: dict[object, list[tuple[int, int]]] = {}
        for index, call in enumerate(calls):
            for at, each in enumerate(call.tool_calls):
                if not each.by_provider:
                    self._by_id.setdefault(each.id, []).append((index, at))
                    self._by_name.setdefault(each.name, []).append((index, at))

    def take(self, span: Span, wanted: object, agent: str | None) -> tuple[int, int] | None:
        """The call that this span is, which then waits no more; None where no model had asked for it by then."""
        found = next(self._asked(span, self._by_id.get(str(wanted), ())), None) if wanted is not None else None
        if found is None:
            best = 3
            for place in self._asked(span, self._by_name.get(span.attributes.get(TOOL_NAME, span.name), ())):
                call = self._calls[place[0]]
                each = call.tool_calls[place[1]]
                if wanted is not None and each.id:
                    continue  # It is another one.
                strange = 2 * (each.arguments != span.input) + (call.agent != agent)
                if strange < best:
                    found, best = place, strange
                if not best:
                    break
        return self._taken(found)

    def take_from_elsewhere(self, span: Span, tree: _Tree) -> tuple[int, int] | None:
        """The call that this span is, where it was asked for elsewhere, as when a queue brought it to a worker."""
        places = self._by_name.get(span.name, ()) if span.kind == "tool" and span.parent is not None else ()
        return self._taken(next((place for place in places if self._may_be(span, place, tree)), None))

    def _may_be(self, span: Span, place: tuple[int, int], tree: _Tree) -> bool:
        """Whether they have the same arguments and no span around both; `after` tells nothing of those."""
        call = self._calls[place[0]]
        if any(each.number == span.parent for each in tree.around(call.span)):
            return False
        if span.started is not None and call.started is not None and span.started < call.started:
            return False
        arguments = call.tool_calls[place[1]].arguments
        return bool(arguments == span.input)

    def _taken(self, found: tuple[int, int] | None) -> tuple[int, int] | None:
        if found is not None:
            each = self._calls[found[0]].tool_calls[found[1]]
            self._by_id[each.id].remove(found)
            self._by_name[each.name].remove(found)
        return found

    def _asked(self, span: Span, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Those that had been asked for when it began."""
        for place in places:
            call = self._calls[place[0]]
            if call.number <= span.after or (not call.number and call.span is not None):
                yield place


def _told_of(call: ToolCall, span: Span) -> ToolCall:
    told = replace(call, seconds=span.seconds, span=span.number)
    status = span.attributes.get(STATUS)
    if status == "denied" or (status == "pending" and call.status == "unanswered"):
        return replace(told, status=status)
    if span.error is not None:
        return replace(told, status="error", result=call.result if call.status != "unanswered" else span.error)
    if call.status == "unanswered" and span.seconds is not None:
        return replace(told, status="ok", result=span.output)
    return told


def _run(span: Span, step: int, tree: _Tree) -> ToolCall:
    arguments = span.input if isinstance(span.input, Mapping) else {} if span.input is None else {"input": span.input}
    status: Any = "error" if span.error is not None else "unanswered" if span.seconds is None else "ok"
    return ToolCall(
        span.name,
        dict(arguments),
        span.error if span.error is not None else span.output,
        span.attributes.get(STATUS) or status,
        id=str(span.attributes.get(TOOL_CALL_ID) or ""),
        step=step,
        agent=next(iter(tree.agents(span.number)), None),
        by_program=True,
        seconds=span.seconds,
        span=span.number,
    )


def _in_steps(calls: Sequence[ModelCall], own: Sequence[Span], tree: _Tree) -> Woven:
    """Every call with its step: what the program ran comes after the calls that had been sent when it began."""
    placed: list[tuple[tuple[int, int], ModelCall | Span]] = []
    last = 0
    for call in calls:
        last = max(last, call.number, tree.spans[call.span].after if not call.number and call.span else 0)
        placed.append(((last, 0), call))
    placed += [((span.after, 1), span) for span in own]
    model_calls, program_calls = [], []
    step = 0
    for _, each in sorted(placed, key=lambda pair: pair[0]):
        if isinstance(each, Span):
            program_calls.append(_run(each, step, tree))
            step += 1
        else:
            tool_calls = tuple(replace(tool_call, step=step) for tool_call in each.tool_calls)
            model_calls.append(replace(each, step=step, tool_calls=tool_calls))
            step += each.operation == "chat"
    return Woven(tuple(model_calls), tuple(program_calls))
