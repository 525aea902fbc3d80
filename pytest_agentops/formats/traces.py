"""Traces as HTML for the playground: the list of runs, and of one run its waterfall, tree, graph, messages and figures.

Each function gives a piece of a page. What has an attribute `data-pick` can be clicked; its value says what for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_agentops.errors import UnknownFigure
from pytest_agentops.explain import dollars, totals
from pytest_agentops.formats import figure_data, macros, plain
from pytest_agentops.sessions import Run
from pytest_agentops.tape import Tape
from pytest_agentops.trace import Message, ModelCall, ToolCall, Trace
from pytest_agentops.views import (
    Beside,
    Edge,
    Graph,
    Node,
    Row,
    Spoken,
    Waterfall,
    aligned,
    arguments_apart,
    conversation,
    extent,
    graph,
    waterfall,
    written,
)

TEMPLATE = "traces.html.jinja"
MOST_ROWS = 300
"""Rows of a waterfall or a tree that are drawn at once."""
MOST_MESSAGES = 100
MOST_RUNS = 100
_MOST_CALLS = 300
_MOST_GROUPS = 200
_MOST_PAGES = 40
_Each = TypeVar("_Each")
_HEAD, _REST = 2_000, 100_000
"""Characters of a text that are shown at once, and those that can be unfolded."""


@dataclass(frozen=True)
class Shown:
    """What of a trace somebody wants to see."""

    first: int = 0
    """The row, message or call that the drawing begins with."""
    folded: frozenset[str] = frozenset()
    """The rows whose inside is hidden."""
    opened: frozenset[str] = frozenset()
    """The rows that are shown with everything that is known of them."""

    def toggled(self, picked: str) -> Shown:
        """The same after a click on what has this `data-pick`."""
        what, _, value = picked.partition(":")
        if what == "from" and value.isdigit():
            return Shown(int(value), self.folded, self.opened)
        if what == "fold":
            return Shown(self.first, self.folded ^ {value}, self.opened)
        return Shown(self.first, self.folded, self.opened ^ {value}) if what == "row" else self


ALL = Shown()
"""From the beginning, nothing folded, nothing opened."""


# --- rows ------------------------------------------------------------------------------------------------------------


def waterfall_html(trace: Trace, shown: Shown = ALL) -> str:
    """What happened, as bars in time."""
    found = waterfall(trace)
    rows, part = window(found.shown(folded=shown.folded), shown.first, MOST_ROWS, "rows")
    begin, end = extent(rows)
    whole = max(end - begin, 1e-9)
    known = _Details(trace)
    drawn = [_Drawn(row, shown, known).in_time(begin, whole, found) for row in rows]
    kinds = list(dict.fromkeys(row.kind for row in found.rows))
    return plain(
        macros(TEMPLATE).waterfall(
            {
                "rows": drawn,
                "window": part,
                "timed": found.timed,
                "about": part["about"],
                "ticks": list(_ticks(begin, whole)) if found.timed else [],
                "kinds": kinds,
                "at_most": any(row.at_most for row in rows),
            }
        )
    )


def tree_html(trace: Trace, shown: Shown = ALL) -> str:
    """What happened, each thing inside of what it was part of, with what was asked and what came back."""
    found = waterfall(trace).shown(folded=shown.folded)
    rows, part = window(found, shown.first, MOST_ROWS, "rows")
    known = _Details(trace)
    return plain(
        macros(TEMPLATE).tree({"rows": [_Drawn(row, shown, known).in_words() for row in rows], "window": part})
    )


class _Details:
    """What the details of rows are taken from; worked out where somebody asks for details."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._spoken: tuple[Spoken, ...] | None = None

    def spoken(self, index: int) -> Spoken:
        if self._spoken is None:
            self._spoken = conversation(self._trace)
        return self._spoken[index]


@dataclass(frozen=True)
class _Drawn:
    row: Row
    shown: Shown
    known: _Details

    def _head(self) -> dict[str, Any]:
        row = self.row
        return {
            "id": row.id,
            "kind": row.kind,
            "name": _cut(row.name, 80),
            "title": f"{row.kind} {_cut(row.name, 300)}",
            "indent": 14 * min(row.depth, 12),
            "inside": row.inside,
            "folded": row.id in self.shown.folded,
            "mark": row.status if row.status != "ok" else "",
            "opened": self._detail() if row.id in self.shown.opened else None,
        }

    def in_time(self, begin: float, whole: float, found: Waterfall) -> dict[str, Any]:
        row = self.row
        left = width = None
        if row.start is not None:
            start = min(max(row.start - begin, 0.0), whole)
            stop = min(max(row.start + (row.seconds or 0) - begin, 0.0), whole)
            left, width = round(100 * start / whole, 3), round(100 * max(stop - start, 0) / whole, 3)
        took = _seconds(row.seconds) if found.timed else ""
        if row.at_most and took:
            took = f"≤ {took}"
        return {
            **self._head(),
            "left": left,
            "width": width,
            "at_most": row.at_most,
            "side": _side(left, width),
            "over": left is not None and width is not None and left < 14 and left + width > 86,
            "took": " · ".join(filter(None, (took, row.status if row.status != "ok" else ""))),
            "tokens": f"{row.tokens:,}" if row.tokens is not None else "",
            "cost": dollars(row.cost) if row.cost is not None else "",
        }

    def in_words(self) -> dict[str, Any]:
        row, call = self.row, self.row.call
        asked = gave = ""
        if isinstance(call, ToolCall):
            asked = str(call).removeprefix(call.name)
            gave = _one_line(call.result) if call.status in ("ok", "error") else call.status
        elif isinstance(call, ModelCall):
            gave = str(call.error) if call.error is not None else str(call.response)
            asks = ", ".join(each.name for each in call.tool_calls[:8])
            asked = f"asks for {asks}" if asks else ""
        elif row.span is not None:
            asked = _one_line(row.span.input)
            gave = row.span.error or _one_line(row.span.output)
        figures = (f"{row.tokens:,} tokens" if row.tokens is not None else "", _seconds(row.seconds))
        return {
            **self._head(),
            "asked": _cut(asked, 200),
            "gave": _cut(" ".join(gave.split()), 300),
            "figures": " · ".join(filter(None, figures)) if row.start is None or row.call is not None else "",
        }

    def _detail(self) -> dict[str, Any]:
        row, call = self.row, self.row.call
        found: dict[str, Any] = {"figures": "", "messages": [], "call": None, "texts": []}
        if isinstance(call, ModelCall) and row.index is not None:
            spoken = self.known.spoken(row.index)
            found |= {"figures": _about(call), "messages": list(_messages(spoken))}
            if spoken.again:
                found["figures"] += f" · {_counted(spoken.again, 'message')} sent again before these"
        elif isinstance(call, ToolCall):
            agent = f"asked for by {call.agent}" if call.agent else ""
            found |= {"figures": agent, "call": _called(call)}
        elif row.span is not None:
            span = row.span
            texts = (("input", span.input), ("output", span.output), ("error", span.error), ("told", span.attributes))
            found["figures"] = f"told of by {span.origin}"
            found["texts"] = [(name, _said(written(value))) for name, value in texts if value not in (None, "", {})]
        return found


def _side(left: float | None, width: float | None) -> str:
    """Where there is room for how long it took, and how far from there."""
    if left is None or width is None:
        return ""
    if left + width <= 86:
        return f"left: {left + width:g}%"
    return f"right: {100 - left:g}%" if left >= 14 else f"right: {100 - left - width:g}%"


def _ticks(begin: float, whole: float) -> Iterator[tuple[float, str]]:
    """Four to eight round moments, each with its place in percent."""
    step = next((each for each in _STEPS if whole / each <= 6), _STEPS[-1] * max(1, round(whole / 6 / _STEPS[-1])))
    moment = step * int(begin / step)
    while moment <= begin + whole:
        if moment >= begin and (moment - begin) / whole <= 0.94:
            yield round(100 * (moment - begin) / whole, 3), f"{moment:,.10g} s"
        moment = round(moment + step, 6)


_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)


# --- graph -----------------------------------------------------------------------------------------------------------

_NODE_WIDTH, _NODE_HEIGHT, _GAP, _BETWEEN = 200, 48, 22, 120
_Place = tuple[float, float, int]
"""Left, top, and the number of the column."""


def graph_html(trace: Trace) -> str:
    """Who took part, and who did what with whom."""
    return plain(macros(TEMPLATE).graph(_laid_out(graph(trace))))


def _laid_out(found: Graph) -> dict[str, Any]:
    """Agents in columns from left to right, what they used in the last ones."""
    layers: dict[int, list[Node]] = {}
    last = max((node.layer for node in found.nodes if node.role == "agent"), default=0)
    for node in sorted(found.nodes, key=lambda node: ("agent", "tool", "model").index(node.role)):
        layers.setdefault(node.layer if node.role == "agent" else last + 1, []).append(node)
    columns = [layers[layer] for layer in sorted(layers)]
    _untangled(columns, found)
    tallest = max((len(column) for column in columns), default=0)
    height = tallest * (_NODE_HEIGHT + _GAP) + _GAP
    places: dict[Any, _Place] = {}
    for number, column in enumerate(columns):
        top = (height - len(column) * (_NODE_HEIGHT + _GAP) + _GAP) / 2
        for index, node in enumerate(column):
            places[node.id] = (20 + number * (_NODE_WIDTH + _BETWEEN), top + index * (_NODE_HEIGHT + _GAP), number)
    kinds = {edge.kind for edge in found.edges}
    return {
        "width": 40 + len(columns) * _NODE_WIDTH + max(0, len(columns) - 1) * _BETWEEN,
        "height": height + 30,
        "nodes": [_node(node, places[node.id]) for node in found.nodes],
        "edges": [_edge(edge, places[edge.start], places[edge.end], list(places.values())) for edge in found.edges],
        "left_out": f"{_counted(found.left_out, 'more')} took part, of those seen least" if found.left_out else "",
        "hands_over": "hands over" in kinds,
        "delegates": "delegates" in kinds,
    }


def _untangled(columns: Sequence[list[Node]], found: Graph) -> None:
    """Let each node stand near the middle of those in columns before its own that have to do with it."""
    for number in range(1, len(columns)):
        heights = {
            node.id: index / max(1, len(column)) for column in columns[:number] for index, node in enumerate(column)
        }

        def middle(node: Node, heights: dict[Any, float] = heights) -> float:
            near = [heights[edge.start] for edge in found.edges if edge.end == node.id and edge.start in heights]
            return sum(near) / len(near) if near else 1.0

        columns[number].sort(key=middle)


def _node(node: Node, place: _Place) -> dict[str, Any]:
    times = {"agent": "call", "tool": "call", "model": "call"}[node.role]
    about = _counted(node.times, times)
    if node.failed:
        about += f", {node.failed:,} failed"
    return {
        "role": node.role,
        "name": _cut(node.name, 25),
        "about": about,
        "title": f"{node.role} {_cut(node.name, 300)}: {about}",
        "failed": bool(node.failed),
        "x": place[0],
        "y": place[1],
        "width": _NODE_WIDTH,
        "height": _NODE_HEIGHT,
    }


def _edge(edge: Edge, start: _Place, end: _Place, all_of_them: Sequence[_Place]) -> dict[str, Any]:
    middle = _NODE_HEIGHT / 2
    if end[2] > start[2]:  # Onwards: from the right side to the left one.
        x1, y1, x2, y2 = start[0] + _NODE_WIDTH, start[1] + middle, end[0] - 2, end[1] + middle
        between = [place for place in all_of_them if start[2] < place[2] < end[2]]
        path, y = _around(between, x1, y1, x2, y2)
        x = (x1 + x2) / 2
    elif start == end:  # To itself: a loop above.
        x1, y1 = start[0] + _NODE_WIDTH / 2, start[1]
        path = f"M{x1 - 20:g} {y1:g} C{x1 - 30:g} {y1 - 26:g} {x1 + 30:g} {y1 - 26:g} {x1 + 20:g} {y1 - 2:g}"
        x, y = x1, y1 - 20
    else:  # Back, or within a column: around below.
        x1, y1, x2, y2 = start[0] + _NODE_WIDTH / 2, start[1] + _NODE_HEIGHT, end[0] + _NODE_WIDTH / 2, end[1]
        if end[1] <= start[1]:
            y2 = end[1] + _NODE_HEIGHT + 2
        drop = max(y1, y2) + 30
        path = f"M{x1 + 14:g} {y1:g} C{x1 + 14:g} {drop:g} {x2 + 14:g} {drop:g} {x2 + 14:g} {y2:g}"
        x, y = (x1 + x2) / 2 + 14, drop - 6
    said = _TO.get(edge.kind, edge.kind)
    return {
        "kind": "hands" if edge.kind == "hands over" else edge.kind,
        "path": path,
        "x": round(x, 1),
        "y": round(y, 1),
        "width": min(1 + edge.times.bit_length() * 0.5, 6),
        "label": f"{edge.times:,}×" if edge.times > 1 else "",
        "title": f"{_cut(edge.start[1], 200)} {said} {_cut(edge.end[1], 200)}, {_counted(edge.times, 'time')}",
    }


_TO = {"hands over": "hands over to", "delegates": "delegates to"}


def _around(between: Sequence[_Place], x1: float, y1: float, x2: float, y2: float) -> tuple[str, float]:
    """A line that goes above or below what stands between its ends, and how high its middle is."""
    if not between:
        bend = max(40.0, (x2 - x1) / 2)
        return f"M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}", (y1 + y2) / 2 - 4
    left, right = min(place[0] for place in between), max(place[0] for place in between) + _NODE_WIDTH
    above, below = min(place[1] for place in between) - 12, max(place[1] for place in between) + _NODE_HEIGHT + 12
    height = min(above, below, key=lambda y: abs(y - (y1 + y2) / 2))
    if not above < (y1 + y2) / 2 < below:
        height = (y1 + y2) / 2
    out, back = (left - x1) / 2, (x2 - right) / 2
    return (
        f"M{x1:g} {y1:g} C{x1 + out:g} {y1:g} {left - out:g} {height:g} {left:g} {height:g} L{right:g} {height:g} "
        f"C{right + back:g} {height:g} {x2 - back:g} {y2:g} {x2:g} {y2:g}"
    ), height - 4


# --- messages --------------------------------------------------------------------------------------------------------


def messages_html(trace: Trace, shown: Shown = ALL) -> str:
    """What was said, each message once, with the calls and results of tools."""
    spoken, part = window(conversation(trace), shown.first, MOST_MESSAGES, "model calls")
    return plain(macros(TEMPLATE).messages({"spoken": [_spoken(each) for each in spoken], "window": part}))


def _spoken(each: Spoken) -> dict[str, Any]:
    again = ""
    if not each.fresh:
        again = f"{_counted(each.again, 'message')} sent again" if each.again else "goes on from an earlier answer"
        if each.dropped:
            again += f", {each.dropped:,} no longer sent"
    return {
        "index": each.index,
        "title": f"{each.call.operation} {each.index + 1}" if each.call.operation != "chat" else f"#{each.index + 1}",
        "about": _about(each.call),
        "again": again,
        "messages": list(_messages(each)),
    }


def _messages(each: Spoken) -> Iterator[dict[str, Any]]:
    for message in each.new:
        yield _message(message)
    call = each.call
    if call.error is not None:
        yield {"side": "failed", "role": "failed", "note": "", "text": _said(str(call.error)), "calls": []}
    elif call.response or call.tool_calls:
        note = "refused" if call.refusal else "cut off" if call.finish_reason == "length" else ""
        calls = [_called(each) for each in call.tool_calls]
        yield {"side": "answer", "role": "answer", "note": note, "text": _said(str(call.response)), "calls": calls}


def _message(message: Message) -> dict[str, Any]:
    return {
        "side": message.role if message.role in ("system", "developer", "user", "assistant", "tool") else "other",
        "role": message.role,
        "note": "failed" if message.failed else "",
        "text": _said(written(message.content) if message.role == "tool" or message.content else ""),
        "calls": [_called(call, result=False) for call in message.tool_calls],
    }


def _called(call: ToolCall, *, result: bool = True) -> dict[str, Any]:
    notes = ("run by the provider" if call.by_provider else "", "run by the program" if call.by_program else "")
    status: str = call.status if result and call.status not in ("ok", "error") else ""
    if call.malformed is not None:
        status = "arguments are not JSON"
    told = written(call.result) if result and call.status in ("ok", "error") else ""
    return {
        "name": _cut(call.name, 200),
        "status": call.status,
        "note": ", ".join(filter(None, (*notes, status))),
        "arguments": _said(written(call.arguments) if call.malformed is None else call.malformed),
        "result": _said(told) if told else None,
    }


def _about(call: ModelCall) -> str:
    told = [call.agent or "", call.model or call.provider, _seconds(call.latency)]
    if call.usage is not None:
        told.append(f"{call.usage.input_tokens:,} in, {call.usage.output_tokens:,} out")
    if call.cost is not None:
        told.append(dollars(call.cost))
    if len(call.attempts) > 1:
        told.append(f"{len(call.attempts)} attempts")
    if call.finish_reason not in (None, "", "stop", "tool_calls"):
        told.append(f"finished with {_cut(str(call.finish_reason), 40)}")
    return " · ".join(filter(None, told))


# --- figures ---------------------------------------------------------------------------------------------------------


def facts_html(trace: Trace) -> str:
    """Figures, findings, what failed, the models, tools and prompts of a run."""
    failed = [(f"{call.model or call.provider}", str(call.error)) for call in trace.model_calls if call.error]
    failed += [(call.name, _one_line(call.result)) for call in trace.tool_calls if call.status == "error"]
    return plain(
        macros(TEMPLATE).facts(
            {
                "figures": list(_figures(trace)),
                "findings": [(each.kind, _cut(each.message, 500)) for each in trace.findings],
                "failed": [(_cut(name, 100), _cut(said, 500)) for name, said in failed[:200]],
                "models": list(_models(trace)),
                "tools": list(_tools(trace)),
                "prompts": [
                    (f"{each.name} {each.version or '(no version)'}", each.digest[:19], _said(written(each.inputs)))
                    for each in trace.prompts[:200]
                ],
            }
        )
    )


def _figures(trace: Trace) -> Iterator[tuple[str, str, str]]:
    answered = any(call.error is None for call in trace.model_calls)
    yield "model calls", f"{len(trace.model_calls):,}", ""
    yield "tool calls", f"{len(trace.tool_calls):,}", ""
    yield "tokens", *_known(lambda: f"{trace.usage.total_tokens:,}", known=answered)
    yield "cost", *_known(lambda: dollars(trace.cost), known=answered)
    yield "seconds, as recorded", *_known(lambda: f"{trace.duration:,.1f}")
    yield "turns", f"{len(trace.turns):,}", ""


def _known(figure: Callable[[], str], *, known: bool = True) -> tuple[str, str]:
    try:
        return (figure(), "") if known else ("–", "nothing was answered")
    except UnknownFigure as error:
        return "–", str(error).partition("\n")[0]


def _models(trace: Trace) -> Iterator[list[str]]:
    grouped: dict[str, list[ModelCall]] = {}
    for call in trace.model_calls:
        grouped.setdefault(call.model or call.provider, []).append(call)
    for model, calls in _most(grouped):
        usages = [call.usage for call in calls if call.usage is not None]
        costs = [call.cost for call in calls if call.error is None]
        known = [cost for cost in costs if cost is not None]
        latencies = [call.latency for call in calls if call.latency is not None]
        yield [
            _cut(model, 100),
            f"{len(calls):,}",
            *(
                f"{sum(getattr(usage, name) for usage in usages):,}" if usages else "–"
                for name in ("input_tokens", "cached_input_tokens", "output_tokens")
            ),
            f"{sum(latencies):,.1f}" if latencies else "–",
            dollars(sum(known)) if known and len(known) == len(costs) else "–",
        ]


def _tools(trace: Trace) -> Iterator[list[str]]:
    grouped: dict[str, list[ToolCall]] = {}
    for call in trace.tool_calls:
        grouped.setdefault(call.name, []).append(call)
    for name, calls in _most(grouped):
        took = [call.seconds for call in calls if call.seconds is not None]
        yield [
            _cut(name, 100),
            f"{len(calls):,}",
            *(f"{sum(call.status == status for call in calls):,}" for status in ("error", "unanswered")),
            f"{sum(took):,.1f}" if took else "–",
        ]


def _most(grouped: Mapping[str, list[_Each]]) -> Iterator[tuple[str, list[_Each]]]:
    """The groups, the largest first; of very many the smallest ones together."""
    ordered = sorted(grouped.items(), key=lambda each: -len(each[1]))
    yield from ordered[:_MOST_GROUPS]
    if len(ordered) > _MOST_GROUPS:
        yield f"{len(ordered) - _MOST_GROUPS:,} more", [call for _, calls in ordered[_MOST_GROUPS:] for call in calls]


# --- two runs --------------------------------------------------------------------------------------------------------


def pair_html(one: Trace, other: Trace, names: tuple[str, str], shown: Shown = ALL) -> str:
    """Two runs beside each other: figures, tool calls, each beside its like, and the answers by word."""
    found = aligned(one, other)
    rows, part = window(found.calls, shown.first, _MOST_CALLS, "tool calls")
    counts = Counter(each.kind for each in found.calls)
    told = [f"{counts[kind]:,} {kind}" for kind in ("changed", "added", "removed", "same") if counts[kind]]
    verdict = "They called the same tools with the same arguments and came to the same answer."
    if not found.same:
        answers = "the same answer" if all(kind == "same" for kind, _ in found.answer) else "another answer"
        verdict = f"Tool calls: {', '.join(told) or 'none'}; {answers}."
    return plain(
        macros(TEMPLATE).pair(
            {
                "one": names[0],
                "other": names[1],
                "verdict": verdict,
                "figures": [figure_data(each) for each in found.case.figures],
                "notes": [*found.case.drift, *_findings(found.case.findings)],
                "rows": [beside_data(each) for each in rows],
                "window": part,
                "structural": [(each.path, repr(each.expected), repr(each.actual)) for each in found.case.structural],
                "answer": list(found.answer),
            }
        )
    )


def _findings(of: tuple[Sequence[str], Sequence[str]]) -> Iterator[str]:
    for name, kinds in zip(("only the first", "only the second"), of, strict=True):
        if kinds:
            yield f"findings of {name}: {', '.join(kinds)}"


def beside_data(each: Beside, *, results: bool = True) -> dict[str, Any]:
    """Two calls as the template takes them."""
    arguments, came = arguments_apart(each)
    return {
        "mark": each.kind,
        "one": _called(each.one, result=results) if each.one is not None else None,
        "other": _called(each.other, result=results) if each.other is not None else None,
        "arguments": list(arguments),
        "results": list(came) if results else [],
    }


# --- the list --------------------------------------------------------------------------------------------------------

_COLUMNS = (
    ("status", "status", ""),
    ("run", "title", ""),
    ("recorded", "recorded", "t-wide"),
    ("time", "seconds", "t-number t-wide"),
    ("tokens", "tokens", "t-number"),
    ("cost", "cost", "t-number"),
    ("steps", "steps", "t-number t-wide"),
    ("tools", "tool_calls", "t-number t-wide"),
    ("odd", "findings", "t-number t-wide"),
)
_COLOURS = {"passed": "good", "failed": "bad", "interrupted": "odd", "unreadable": "bad"}


def runs_html(
    runs: Sequence[Run], *, sort: str = "recorded", descending: bool = True, first: int = 0, marked: str = ""
) -> str:
    """The list of runs, those that are to be seen at once; `marked` is the name of one that stands out."""
    drawn, part = window(runs, first, MOST_RUNS, "runs")
    columns = [
        {
            "title": title,
            "sort": name,
            "class": css,
            "sorted": ("descending" if descending else "ascending") if name == sort else "none",
            "arrow": ("↓" if descending else "↑") if name == sort else "",
        }
        for title, name, css in _COLUMNS
    ]
    return plain(
        macros(TEMPLATE).runs({"columns": columns, "runs": [_run(run, marked) for run in drawn], "window": part})
    )


def _run(run: Run, marked: str) -> dict[str, Any]:
    before, colons, title = run.title.rpartition("::")
    if not colons:
        before, _, title = run.title.rpartition("/")
        before = f"{before}/" if before else ""
    draft = "draft, " if run.place == "drafts" else ""
    return {
        "name": run.name,
        "status": f"{draft}{run.status}",
        "colour": _COLOURS.get(run.status, "plain"),
        "before": _cut(f"{before}{colons}", 200),
        "title": _cut(title, 200),
        "take": f"take {run.take}" if run.take > 1 else "",
        "problem": _cut(run.problem, 300),
        "about": _cut(" · ".join(_told_of(run)), 300),
        "recorded": run.recorded[:16].replace("T", " "),
        "seconds": _seconds(run.seconds) or "–",
        "tokens": f"{run.tokens:,}" if run.tokens is not None else "–",
        "cost": dollars(run.cost) if run.cost is not None else "–",
        "steps": f"{run.steps:,}" if not run.problem else "–",
        "tool_calls": f"{run.tool_calls:,}" if not run.problem else "–",
        "errors": run.errors,
        "findings": run.findings,
        "marked": run.name == marked,
    }


def _told_of(run: Run) -> Iterator[str]:
    if run.place == "playground":
        yield "playground"
    yield from (f"{name} {version}".strip() for name, version in run.prompts[:3])
    if len(run.prompts) > 3:
        yield f"{len(run.prompts) - 3} more prompts"
    yield from run.models[:2]
    if run.said:
        yield f"“{run.said[:100]}”"


# --- what they share -------------------------------------------------------------------------------------------------


def about_run(tape: Tape, trace: Trace) -> str:
    """A run in one line: how it ended, when it was recorded, and what it came to."""
    when = f"recorded {tape.recorded:%Y-%m-%d %H:%M}" if tape.recorded else ""
    return " · ".join(filter(None, (tape.outcome, when, *totals(trace).split(", ")[:-1])))


def window(of: Sequence[_Each], first: int, most: int, what: str) -> tuple[Sequence[_Each], dict[str, Any]]:
    """Those that are drawn at once, and what is said of the others."""
    first = max(0, min(first, len(of) - 1)) if of else 0
    rows = of[first : first + most]
    return rows, {
        "of": len(of),
        "count": len(rows),
        "pages": _pages(len(of), first, most),
        "before": max(0, first - most) if first else None,
        "after": first + most if first + most < len(of) else None,
        "about": f"{what} {first + 1:,} to {first + len(rows):,} of {len(of):,}",
    }


def _pages(total: int, first: int, most: int) -> list[tuple[int, int, bool]]:
    """The number of each window, where it begins and whether it is the one that is seen; none where they are many."""
    starts = range(0, total, most)
    if len(starts) > _MOST_PAGES:
        return []
    return [(number, start, start <= first < start + most) for number, start in enumerate(starts, 1)]


def _said(text: str) -> dict[str, str]:
    rest = text[_HEAD : _HEAD + _REST] if len(text) > _HEAD + 200 else ""
    head = text[:_HEAD] if rest else text
    about = f"{len(text) - _HEAD:,} more characters" if rest else ""
    if len(text) > _HEAD + _REST:
        about += f", the first {_REST:,} of them"
    return {"head": head, "rest": rest, "rest_about": about}


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:,.0f} ms"
    return f"{seconds:,.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 or what == "more" else f"{count:,} {what}s"


def _one_line(value: object) -> str:
    return " ".join(written(value)[:2_000].split())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
