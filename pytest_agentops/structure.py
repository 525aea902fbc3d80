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
    asked = [(index, at) for index, call in enumerate(calls) for at in range(len(call.tool_calls))]
    waiting = [place for place in asked if not calls[place[0]].tool_calls[place[1]].by_provider]
    joined: dict[tuple[int, int], Span] = {}
    own: list[Span] = []
    for span in sorted(tree.spans.values(), key=lambda span: (span.after, span.number)):
        if span.kind not in _ACTS or tree.is_part_of_an_act(span):
            continue
        place = next(iter(_partners(span, waiting, calls, tree)), None)
        if place is None and (again := _wanted(span, tree)) is not None:
            # One that was stopped and is resumed, or tried once more, is the same call; how it came out at last counts.
            place = next((each for each in joined if calls[each[0]].tool_calls[each[1]].id == again), None)
            if place is not None:
                joined[place] = span
                continue
        if place is None:
            if span.kind != "handoff" and STATUS not in span.attributes:  # One that was held back did not run.
                own.append(span)
        else:
            waiting.remove(place)
            joined[place] = span
    for span in list(own):
        if (
            place := next((each for each in waiting if _may_be(span, calls[each[0]], each[1], tree)), None)
        ) is not None:
            own.remove(span)
            waiting.remove(place)
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


def _partners(
    span: Span, waiting: Sequence[tuple[int, int]], calls: Sequence[ModelCall], tree: _Tree
) -> list[tuple[int, int]]:
    """The tool calls that this span may be, the likeliest first."""
    wanted = _wanted(span, tree)
    agent = next(iter(tree.agents(span.number)), None)
    found: list[tuple[tuple[bool, ...], tuple[int, int]]] = []
    for index, at in waiting:
        call = calls[index]
        each = call.tool_calls[at]
        if call.number > span.after and (call.number or call.span is None):
            continue  # It was asked for after the tool had begun.
        if wanted is not None and each.id == wanted:
            found.append(((False, False, False), (index, at)))
        elif each.name == span.attributes.get(TOOL_NAME, span.name) and (wanted is None or not each.id):
            found.append(((True, each.arguments != span.input, call.agent != agent), (index, at)))
    return [place for _, place in sorted(found)]


def _may_be(span: Span, call: ModelCall, at: int, tree: _Tree) -> bool:
    """Whether it is what was asked for elsewhere, as when a queue brought it here: `after` tells nothing of that."""
    asked = call.tool_calls[at]
    if span.parent is None or any(each.number == span.parent for each in tree.around(call.span)):
        return False
    if span.started is not None and call.started is not None and span.started < call.started:
        return False
    return span.kind == "tool" and (asked.name, asked.arguments) == (span.name, span.input)


def _wanted(span: Span, tree: _Tree) -> Any:
    """The id of the call that this span is, where it or a tool inside of it knows that."""
    return span.attributes.get(TOOL_CALL_ID) or next(
        (inner.attributes[TOOL_CALL_ID] for inner in _inside(span, tree) if TOOL_CALL_ID in inner.attributes), None
    )


def _inside(span: Span, tree: _Tree) -> Iterator[Span]:
    return (each for each in tree.spans.values() if each.kind == "tool" and each.parent == span.number)


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
