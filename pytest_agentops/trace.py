"""The trace of an agent's run: frozen values, read by everything else.

A trace is a list of model calls in the order they were issued. Each model call knows the tool calls it asked for, and
each tool call its result, where a later request carried one.
"""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from pytest_agentops.errors import (
    AgentopsError,
    ExpectationError,
    NeverHeld,
    NothingCaptured,
    UnknownDuration,
    UnknownPrice,
    UnknownUsage,
)

if TYPE_CHECKING:
    from pytest_agentops.expect import Expectation

FORMAT = 1
"""The version of the JSON that `Trace.to_json` writes."""

Source = Literal["live", "replayed", "imported"]
Operation = Literal["chat", "embeddings", "rerank"]
"""What was asked of a model; the first two are values of `gen_ai.operation.name` in OpenTelemetry's conventions."""

SpanKind = Literal["agent", "tool", "task", "model", "handoff", "guardrail", "delegation"]
"""What a stretch of a run is; OpenTelemetry says `invoke_agent`, `execute_tool` and `chat` for some of these."""


@dataclass(frozen=True)
class Comparison:
    """A comparison with a trajectory or a response that was made, and can be made again with another one."""

    subject: Trajectory | ResponseText
    op: Literal["==", "in"]
    asked: Any
    """An expectation, or what else it was compared with."""
    holds: bool

    def holds_of(self, subject: Trajectory | ResponseText) -> bool:
        """Whether the same would hold of another subject; nobody hears of it, and no model is asked."""
        token = again.set(True)
        try:
            return subject.holds(self.op, self.asked)
        finally:
            again.reset(token)


again: ContextVar[bool] = ContextVar("agentops_again", default=False)
"""Whether a comparison is made that was made before, for which no model may be asked."""


observers: list[Callable[[Comparison], None]] = []
"""Who hears of every comparison."""


def _heard(subject: Trajectory | ResponseText, op: Literal["==", "in"], asked: object) -> bool:
    holds = subject.holds(op, asked)
    for observer in tuple(observers):
        observer(Comparison(subject, op, asked, holds))
    return holds


class ResponseText(str):
    """The text of an answer, with its JSON. It compares with text, and with an expectation by asking it."""

    origin: Reading | None = None
    """What it is the final answer of, where it is one."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return _heard(self, "==", other)
        from pytest_agentops.expect import Expectation

        return _heard(self, "==", other) if isinstance(other, Expectation) else NotImplemented

    def __contains__(self, text: object) -> bool:
        return _heard(self, "in", text)

    def holds(self, op: Literal["==", "in"], asked: Any) -> bool:
        """Whether it is equal to this text, fits this expectation, or has this text in it."""
        if op == "in":
            return str.__contains__(self, asked)
        return str.__eq__(self, asked) if isinstance(asked, str) else asked.mismatch(self) is None

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = str.__hash__

    def of(self, origin: Reading) -> ResponseText:
        """Itself, known as the final answer of this run."""
        self.origin = origin
        return self

    @property
    def response(self) -> ResponseText:
        """Itself, so that an expectation reads a trace and an answer in the same way."""
        return self

    @property
    def captured(self) -> bool:
        """Whether the recording that it was read from holds anything at all."""
        return self.origin is None or self.origin.captured

    @property
    def trajectory(self) -> Trajectory:
        """Never there: a text has no tool calls.

        Raises:
            ExpectationError: always.
        """
        raise ExpectationError(
            "an expectation of tool calls was asked of a response\n  compare agent_trace.trajectory with it"
        )

    def json(self) -> Any:
        """The value of the text as JSON.

        Raises:
            ValueError: the text is not JSON; the message shows its beginning.
        """
        try:
            return json.loads(self)
        except ValueError as error:
            raise ValueError(f"the response is not JSON ({error}): {str(self)[:200]!r}") from None


@dataclass(frozen=True)
class Usage:
    """Token counts, counted as OpenTelemetry does: input includes cached, output includes reasoning."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    """What of the input was written to the provider's cache, where it says so; some charge more for that."""
    input_audio_tokens: int = 0
    """What of the input was sound, where the provider says so; some charge more for that too."""
    output_audio_tokens: int = 0
    cached_audio_tokens: int = 0
    """What of the cached input was sound."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, each) + getattr(other, each) for each in _COUNTS))


_COUNTS = tuple(each.name for each in dataclasses.fields(Usage))


@dataclass(frozen=True)
class ToolCall:
    """One tool invocation that a model asked for."""

    name: str
    arguments: Any = field(default_factory=dict)
    """The decoded arguments, a mapping as a rule; `{}` when there are none or they are `malformed`."""
    result: Any = None
    """What came back, as the next request carried it: text as a rule."""
    status: Literal["ok", "error", "unanswered", "denied", "pending"] = "unanswered"
    """`unanswered` when no later request carried a result; the last two only where a framework tells."""
    id: str = ""
    step: int = 0
    """The index of the step that asked for it."""
    by_provider: bool = False
    """Whether the provider ran the tool itself."""
    malformed: str | None = None
    """The arguments as they came, when they are not JSON."""
    agent: str | None = None
    """The agent that asked for it, where agents are known."""
    by_program: bool = False
    """Whether no model asked for it: the program ran the tool itself."""
    seconds: float | None = None
    """How long the tool ran, as recorded; None where nothing but the wire told of it."""
    span: int | None = None
    """The number of the span that it ran in."""

    def __str__(self) -> str:
        if self.malformed is not None:
            return f"{self.name}(malformed: {self.malformed!r})"
        if isinstance(self.arguments, Mapping):
            return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"
        return f"{self.name}({self.arguments!r})"


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    content: Any = ""
    """Text; where the message has parts that are not text, the parts as the provider wrote them."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For a tool's message, the call that it answers."""
    failed: bool = False
    """For a tool's message, whether it says that the call failed; not every provider has a way to say that."""

    @property
    def text(self) -> str:
        """The text of the message, without parts that are not text."""
        if isinstance(self.content, str):
            return self.content
        parts = self.content if isinstance(self.content, list) else []
        return "".join(str(part.get("text") or "") for part in parts if isinstance(part, Mapping))


@dataclass(frozen=True)
class CallError:
    """Why a model call gave no answer."""

    message: str
    status: int | None = None
    """The HTTP status; None when no response arrived."""
    code: str | None = None
    """The provider's name for it, or the class of the transport's exception."""

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.status, self.code, self.message) if part)


@dataclass(frozen=True)
class Attempt:
    """One try of a model call; a client may retry on its own."""

    exchange: int
    """The number of the exchange."""
    latency: float | None = None
    """Seconds from sending the request to the end of the response, as recorded."""
    error: CallError | None = None
    polls: tuple[int, ...] = ()
    """Exchanges that asked for the answer later, where it was made in the background; `latency` is up to its coming."""


@dataclass(frozen=True)
class ModelCall:
    """One request to a model and its answer."""

    id: str
    """The provider's id of the answer, or `call-N` where there is none."""
    provider: str
    """OpenTelemetry's `gen_ai.provider.name` where it has one, else the host."""
    model: str
    """The model that answered, or that was asked for when none answered."""
    messages: tuple[Message, ...] = ()
    """The conversation that was sent; where the provider keeps it, with what came before in the same trace."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """The tools that were offered, as the provider wrote them."""
    response: ResponseText = field(default_factory=ResponseText)
    """The text of the answer; where the model refused, its refusal."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    """None when the provider did not report it."""
    reported_usage: Mapping[str, Any] | None = None
    """The figures that `usage` was read from, as the provider wrote them, with those that we have no name for."""
    finish_reason: str | None = None
    """In the words of chat completions; empty when the answer ended without a reason, None when it broke off."""
    attempts: tuple[Attempt, ...] = ()
    """The tries in order; the last one gave the answer, or the error."""
    error: CallError | None = None
    refusal: str | None = None
    cost: float | None = None
    """US dollars; None when no price is known or no usage was reported."""
    priced_by: str | None = None
    """The price table and its version."""
    started: float | None = None
    """Seconds since the recording began."""
    prompts: tuple[int, ...] = ()
    """Which of the trace's prompts this call carries, as indexes into `Trace.prompts`."""
    agent: str | None = None
    """The agent that asked it, where agents are known."""
    step: int = 0
    """Its place among the steps of the trace."""
    span: int | None = None
    """The number of the innermost span that it was asked in."""
    nested: bool = False
    """Whether its agent works for another agent of the run, so that its answer is not the run's."""
    operation: Operation = "chat"
    """What was asked: only a `chat` is part of the conversation; the others give numbers and no words."""
    continues: str | None = None
    """The id of the answer whose conversation this one goes on with, where the provider keeps it."""
    conversation: str | None = None
    """The provider's id of the conversation, where it keeps one."""
    alternatives: tuple[str, ...] = ()
    """The texts of the other answers, where more than one was asked for."""

    @property
    def latency(self) -> float | None:
        """Seconds of the last attempt, as recorded; None when the recording has no times."""
        return self.attempts[-1].latency if self.attempts else None

    @property
    def is_answer(self) -> bool:
        """Whether it came to an answer in words: no error, and no tool that the caller has to run."""
        return self.operation == "chat" and self.error is None and all(call.by_provider for call in self.tool_calls)

    @property
    def number(self) -> int:
        """The sequence number of the first exchange of this call."""
        return self.attempts[0].exchange if self.attempts else 0


@dataclass(frozen=True)
class Render:
    """One rendering of a prompt."""

    name: str
    version: str | None
    digest: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """A stretch of a run that something else than the wire told of: a decorator, a framework, OpenTelemetry."""

    number: int
    """Its place in the run, from 1; a span comes before those inside it."""
    kind: SpanKind
    name: str
    parent: int | None = None
    """The number of the span that it is part of."""
    origin: str = "agentops"
    """Who told of it: `agentops` for our decorators, else the framework, or `opentelemetry`."""
    after: int = 0
    """The number of the last exchange that had been sent when it began, as far as its parent's go; 0 for none."""
    input: Any = None
    output: Any = None
    error: str | None = None
    started: float | None = None
    """Seconds since the recording began."""
    seconds: float | None = None
    """How long it lasted, as recorded; None where it had not ended."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What else was told, under the names that OpenTelemetry gives it where it gives one."""


def spans_from(stored: Iterable[Mapping[str, Any]]) -> tuple[Span, ...]:
    """The spans that were written down as mappings.

    Raises:
        TypeError: one has a field that spans have not, or lacks one.
        ValueError: one is none that a run can have told of.
    """
    spans = tuple(Span(**each) for each in stored)
    numbers: set[int] = set()
    for span in spans:
        for name, holds in _OF_A_SPAN.items():
            if not holds(value := getattr(span, name)):
                raise ValueError(f"span {span.number!r:.50} has {value!r:.50} as {name}")
        if span.number in numbers:
            raise ValueError(f"there are two spans {span.number}")
        if span.parent is not None and span.parent >= span.number:
            raise ValueError(f"span {span.number} is inside span {span.parent}, which comes no earlier")
        numbers.add(span.number)
    return spans


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_time(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and -1e9 < value < 1e9)


_OF_A_SPAN: Mapping[str, Callable[[object], bool]] = {
    "number": _is_count,
    "kind": lambda value: value in get_args(SpanKind),
    "name": _is_text,
    "parent": lambda value: value is None or _is_count(value),
    "origin": _is_text,
    "after": _is_count,
    "error": lambda value: value is None or _is_text(value),
    "started": _is_time,
    "seconds": _is_time,
    "attributes": lambda value: isinstance(value, Mapping),
}
"""What holds of each field of a span."""


@dataclass(frozen=True)
class Finding:
    """Something odd in a trace that nobody asserted on."""

    kind: Literal[
        "unanswered", "malformed", "cut_off", "refused", "unknown_endpoint", "no_response", "no_usage", "failed",
        "child_process", "unoffered", "framework", "unrecorded",
    ]  # fmt: skip
    message: str
    exchange: int | None = None
    """The number of the exchange it was seen in."""


class Trajectory(Sequence[ToolCall]):
    """The tool calls of a trace, in steps: an immutable sequence.

    Two trajectories compare by content (names and arguments), one compares with an expectation by asking it, a list
    stands for `exactly`.
    """

    __slots__ = ("_calls", "_captured", "_scopes", "_steps", "origin")

    def __init__(
        self,
        steps: Sequence[Sequence[ToolCall]],
        *,
        captured: bool = True,
        origin: Reading | None = None,
        scopes: tuple[Callable[[Trajectory], Trajectory], ...] = (),
    ) -> None:
        self._steps = tuple(tuple(step) for step in steps if step)
        self._captured = captured
        self._calls = tuple(call for step in self._steps for call in step)
        self.origin = origin
        """The run that it is of, where that is known."""
        self._scopes = scopes

    def of_run(self, run: Reading) -> Trajectory:
        """The calls of another run that count as these do.

        Raises:
            AgentopsError: its scope names something that is not there in the other run.
        """
        found = run.trajectory
        for scope in self._scopes:
            found = scope(found)
        return found

    @property
    def steps(self) -> tuple[tuple[ToolCall, ...], ...]:
        """The calls by step, without the steps that asked for none; the order inside a step means nothing."""
        return self._steps

    @property
    def captured(self) -> bool:
        """Whether the recording holds anything at all."""
        return self._captured

    @property
    def offered(self) -> frozenset[str] | None:
        """The names of all tools that a model could have called; None where that is not known."""
        if self.origin is None:
            return None
        return frozenset(name for call in self.origin.model_calls for tool in call.tools for name in tool_names(tool))

    @property
    def response(self) -> ResponseText:
        """The final answer of the run that it is of.

        Raises:
            ExpectationError: it is of no run.
        """
        if self.origin is None:
            raise ExpectationError("an expectation of a response was asked of tool calls alone")
        return self.origin.response

    # Which calls count: each of these is a trajectory of some of the calls, in their steps.

    @property
    def executed(self) -> Trajectory:
        """Without the calls that were denied or still wait for permission, where a framework tells of that."""
        return self._where(lambda call: call.status not in ("denied", "pending"), lambda other: other.executed)

    @property
    def successful(self) -> Trajectory:
        """The calls that came back with a result and without an error, where errors are told of."""
        return self._where(lambda call: call.status == "ok", lambda other: other.successful)

    @property
    def last_attempts(self) -> Trajectory:
        """Without the failed calls of a tool that was called again in a later step, with whatever arguments."""
        last = {(call.name, call.agent): call.step for call in self}
        return self._where(
            lambda call: call.status != "error" or last[call.name, call.agent] == call.step,
            lambda other: other.last_attempts,
        )

    def of(self, *, agent: str) -> Trajectory:
        """The calls that this agent asked for, where agents are known.

        Raises:
            ExpectationError: no agent of this name asked for any tool.
        """
        names = dict.fromkeys(call.agent for call in self if call.agent is not None)
        if agent not in names:
            known = f"; there are: {', '.join(map(repr, names))}" if names else ", and no agents are known in this run"
            raise ExpectationError(f"no agent {agent!r} asked for a tool{known}")
        return self._where(lambda call: call.agent == agent, lambda other: other.of(agent=agent))

    def turn(self, index: int) -> Trajectory:
        """The calls of one turn, counted from 0 as in `trace.turns`.

        Raises:
            ExpectationError: there is no such turn.
        """
        turns = self.origin.turns if self.origin is not None else ()
        if not -len(turns) <= index < len(turns):
            raise ExpectationError(f"there is no turn {index}: the run has {len(turns)}, counted from 0")
        steps = {call.step for call in turns[index].tool_calls}

        def in_turn(calls: Trajectory) -> Trajectory:
            return calls._where(lambda call: call.step in steps, in_turn)

        return in_turn(self)

    def after(self, wanted: object) -> Trajectory:
        """The calls of the steps after the first one by which this held: a tool's name, `call(...)` or an expectation.

        Raises:
            NeverHeld: it never did, so that nothing comes after it.
        """
        from pytest_agentops.expect import Expectation
        from pytest_agentops.expect.trajectories import includes

        expectation = wanted if isinstance(wanted, Expectation) else includes(wanted)
        for end in range(len(self._steps) + 1):
            if expectation.mismatch(self._part(self._steps[:end])) is None:
                return self._part(self._steps[end:], lambda other: other.after(wanted))
        raise NeverHeld(f"nothing comes after {wanted!r}: it never held\n  the calls were: {self!r}")

    def _where(self, counts: Callable[[ToolCall], bool], scope: Callable[[Trajectory], Trajectory]) -> Trajectory:
        return self._part([[call for call in step if counts(call)] for step in self._steps], scope)

    def _part(self, steps: Sequence[Sequence[ToolCall]], *scopes: Callable[[Trajectory], Trajectory]) -> Trajectory:
        return Trajectory(steps, captured=self._captured, origin=self.origin, scopes=(*self._scopes, *scopes))

    @property
    def trajectory(self) -> Trajectory:
        """Itself, so that an expectation reads a trace, a step, a turn and a trajectory in the same way."""
        return self

    @overload
    def __getitem__(self, index: int) -> ToolCall: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ToolCall, ...]: ...
    def __getitem__(self, index: int | slice) -> ToolCall | tuple[ToolCall, ...]:
        return self._calls[index]

    def __len__(self) -> int:
        return len(self._calls)

    def __eq__(self, other: object) -> bool:
        asked = other if isinstance(other, Trajectory) else self.expectation(other)
        return NotImplemented if asked is None else _heard(self, "==", asked)

    def holds(self, op: Literal["==", "in"], asked: Any) -> bool:
        """Whether it is equal to another trajectory, fits this expectation, or has this call in it.

        Raises:
            NothingCaptured: there is no evidence at all.
        """
        if isinstance(asked, Trajectory):
            return self._content() == asked._content()
        if op == "==":
            return asked.mismatch(self) is None
        if not self.captured:
            raise NothingCaptured
        return self.count(asked) > 0

    def _content(self) -> list[list[str]]:
        """What counts when two are compared: names and arguments, step by step, in no order inside a step."""
        return [
            sorted(json.dumps([call.name, call.arguments, call.malformed], sort_keys=True) for call in step)
            for step in self.steps
        ]

    __hash__ = None  # type: ignore[assignment]  # It compares with values that have no hash of their own.

    def __contains__(self, wanted: object) -> bool:
        return _heard(self, "in", wanted)

    def count(self, wanted: object) -> int:
        """How many calls are as expected; `wanted` is what `in` takes: a tool's name or `call(...)`."""
        from pytest_agentops.expect.calls import expected_call

        if isinstance(wanted, ToolCall):
            return self._calls.count(wanted)
        expected = expected_call(wanted)
        return sum(expected.mismatches(call) is None for call in self._calls)

    def expectation(self, other: object) -> Expectation | None:
        """What comparing with this value asks for, or None when it is no expectation at all.

        Raises:
            TypeError: a bare string, which would be read letter by letter.
        """
        from pytest_agentops.expect import Expectation
        from pytest_agentops.expect.trajectories import exactly

        if isinstance(other, str):
            raise TypeError(f"a trajectory is compared with a list of calls, not a string; write [{other!r}]")
        if isinstance(other, list | tuple):
            return exactly(*other)
        return other if isinstance(other, Expectation) else None

    def __repr__(self) -> str:
        return f"[{', '.join(str(call) for call in self)}]"


class Reading:
    """What is read from model calls: the same for a finished trace, a running one and one turn."""

    if TYPE_CHECKING:
        # For the type checker alone: at run time a dataclass would take the property for a field's default.
        @property
        def model_calls(self) -> tuple[ModelCall, ...]: ...

        @property
        def program_calls(self) -> tuple[ToolCall, ...]: ...

    @property
    def captured(self) -> bool:
        """Whether there is any evidence to judge."""
        return bool(self.model_calls or self.program_calls)

    @property
    def chats(self) -> tuple[ModelCall, ...]:
        """The model calls that are the conversation: those that made embeddings or ranked documents are left out."""
        return tuple(call for call in self.model_calls if call.operation == "chat")

    @property
    def steps(self) -> tuple[Step, ...]:
        """One for each model call of the conversation, and one for each tool that the program ran without being
        asked."""
        if not self.program_calls:
            return tuple(Step(index, call) for index, call in enumerate(self.chats))
        asked: list[tuple[int, ModelCall | None, tuple[ToolCall, ...]]] = [
            *((call.step, call, ()) for call in self.chats),
            *((call.step, None, (call,)) for call in self.program_calls),
        ]
        ordered = sorted(asked, key=lambda each: each[0])
        return tuple(Step(index, call, ran) for index, (_, call, ran) in enumerate(ordered))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All tool calls, in steps' order."""
        return tuple(tool_call for step in self.steps for tool_call in step.tool_calls)

    @property
    def trajectory(self) -> Trajectory:
        """The tool calls, as every expectation reads them."""
        return Trajectory([step.tool_calls for step in self.steps], captured=self.captured, origin=self)

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents that asked a model or ran a tool, in the order of their first; empty where none is
        known."""
        first: dict[int, str | None] = {}
        for step in self.steps:
            calls: tuple[ModelCall | ToolCall, ...] = step.program_calls or step.model_calls
            first[step.index] = calls[0].agent if calls else None
        return tuple(dict.fromkeys(name for name in first.values() if name is not None))

    def of(self, *, agent: str) -> Part:
        """What this agent did: its model calls and tools, read as a run of their own.

        Raises:
            ExpectationError: no agent of this name did anything.
        """
        if agent not in self.agents:
            known = f"; there are: {', '.join(map(repr, self.agents))}" if self.agents else ", and no agents are known"
            raise ExpectationError(f"there is no agent {agent!r} in this run{known}")
        return Part(
            tuple(call for call in self.model_calls if call.agent == agent),
            tuple(call for call in self.program_calls if call.agent == agent),
        )

    @property
    def response(self) -> ResponseText:
        """The final answer: the text of the last model call that asked for no tool; empty when there is none.

        A tool that the provider ran itself is not asked for: the answer stands beside it. Where agents are known, an
        agent that works for another one has not the last word.
        """
        answers = [call for call in self.model_calls if call.is_answer]
        answers = [call for call in answers if not call.nested] or answers
        return ResponseText(answers[-1].response if answers else "").of(self)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation of the last model call that is one, its answer included."""
        if not self.chats:
            return ()
        last = self.chats[-1]
        return (*last.messages, Message("assistant", str(last.response), last.tool_calls))

    @property
    def usage(self) -> Usage:
        """The tokens of all model calls that gave an answer, embeddings included.

        Raises:
            UnknownUsage: a model call answered without reporting its tokens; rankings, which are charged by the search
                as a rule, need not.
        """
        answered = [call for call in self.model_calls if call.error is None and call.operation != "rerank"]
        if missing := [call.id for call in answered if call.usage is None]:
            raise UnknownUsage(missing)
        return sum((call.usage for call in self.model_calls if call.usage), Usage())

    @property
    def cost(self) -> float:
        """US dollars for all model calls that gave an answer.

        Raises:
            UnknownPrice: a model has no known price, or did not report its tokens.
        """
        answered = [call for call in self.model_calls if call.error is None]
        if missing := [call.model for call in answered if call.cost is None]:
            raise UnknownPrice(missing)
        return sum(call.cost for call in answered if call.cost is not None)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation, cut where a user's message opens a new exchange of question and answer."""
        turns: list[list[ModelCall]] = []
        asked_in: dict[str, list[ModelCall]] = {}
        for call in self.chats:
            answers = [message.tool_call_id for message in call.messages if message.tool_call_id]
            turn = asked_in.get(answers[-1]) if answers and call.messages[-1].role != "user" else None
            if turn is None:
                turns.append(turn := [])
            turn.append(call)
            asked_in.update((tool_call.id, turn) for tool_call in call.tool_calls)
        # What the program did on its own belongs to the turn that was under way, and before any, to the first.
        begins = [calls[0].step for calls in turns]
        ran: list[list[ToolCall]] = [[] for _ in turns]
        for tool_call in self.program_calls if turns else ():
            ran[max(bisect_right(begins, tool_call.step) - 1, 0)].append(tool_call)
        return tuple(Turn(index, tuple(calls), tuple(ran[index])) for index, calls in enumerate(turns))


@dataclass(frozen=True)
class Step(Reading):
    """One model call of the conversation and the tool calls it asked for, whose order means nothing; or a tool that
    the program ran."""

    index: int
    model_call: ModelCall | None
    """None where the program ran a tool without a model having asked for it."""
    program_calls: tuple[ToolCall, ...] = ()

    @property
    def model_calls(self) -> tuple[ModelCall, ...]:
        """The one model call."""
        return () if self.model_call is None else (self.model_call,)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Itself."""
        return (self,)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """What the model asked for, or the one that the program ran."""
        return self.program_calls if self.model_call is None else self.model_call.tool_calls

    @property
    def response(self) -> ResponseText:
        """The text of the model call's answer, which may stand beside tool calls."""
        return ResponseText("" if self.model_call is None else self.model_call.response).of(self)


@dataclass(frozen=True)
class Turn(Reading):
    """From one user message to the answer to it."""

    index: int
    model_calls: tuple[ModelCall, ...]
    program_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Part(Reading):
    """Some of the calls of a run, such as those of one agent."""

    model_calls: tuple[ModelCall, ...]
    program_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Trace(Reading):
    """What an agent did: its model calls, and everything that is read from them."""

    model_calls: tuple[ModelCall, ...] = ()
    prompts: tuple[Render, ...] = ()
    """Every prompt rendered, in order."""
    findings: tuple[Finding, ...] = ()
    source: Source = "live"
    exchanges: int = 0
    """How many exchanges it was read from, those with no model included."""
    seconds: float | None = None
    """From the first request to the last byte, as recorded; None when the recording has no times."""
    program_calls: tuple[ToolCall, ...] = ()
    """The tools that the program ran without a model having asked for them, where a decorator or a framework tells."""
    spans: tuple[Span, ...] = ()
    """What decorators, frameworks and OpenTelemetry told of the run."""

    @property
    def captured(self) -> bool:
        """Whether there is any evidence to judge."""
        return bool(self.model_calls or self.program_calls or self.spans) or self.exchanges > 0

    @property
    def duration(self) -> float:
        """Seconds from the first request to the last byte, as recorded, on replay too.

        Raises:
            UnknownDuration: the recording has no times.
        """
        if self.seconds is None:
            raise UnknownDuration
        return self.seconds

    @classmethod
    def from_cassette(cls, path: str | Path) -> Trace:
        """The trace of the run that recorded this cassette.

        Raises:
            CassetteMissing: there is no such file.
            CassetteUnreadable: it is not a cassette, or a damaged one.
        """
        from pytest_agentops.tape import load

        return load(Path(path)).trace()

    @classmethod
    def from_cassette_text(cls, text: str) -> Trace:
        """The trace of a cassette that is at hand as text, for example out of git.

        Raises:
            CassetteUnreadable: it is not a cassette, or a damaged one.
        """
        from pytest_agentops.tape import loads

        return loads(text).trace()

    def to_json(self, *, indent: int | None = None) -> str:
        """The trace as JSON; `Trace.from_json` gives an equal one.

        Besides the fields it holds `cost`, null with the models under `unpriced` when a price is not known.
        """
        data: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self)}
        try:
            data |= {"cost": self.cost}
        except UnknownPrice as unknown:
            data |= {"cost": None, "unpriced": list(unknown.models)}
        return json.dumps(data, ensure_ascii=False, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """The trace that `to_json` wrote.

        Raises:
            AgentopsError: it is not the JSON of a trace, or of a newer format.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise AgentopsError(f"this trace has format {data['format']!r}; this version reads {FORMAT}")
            return cls(
                model_calls=tuple(_model_call(call) for call in data["model_calls"]),
                prompts=tuple(Render(**render) for render in data["prompts"]),
                findings=tuple(Finding(**finding) for finding in data["findings"]),
                source=data["source"],
                exchanges=data["exchanges"],
                seconds=data["seconds"],
                program_calls=tuple(ToolCall(**call) for call in data.get("program_calls", ())),
                spans=spans_from(data.get("spans", ())),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise AgentopsError(f"this is not the JSON of a trace: {type(error).__name__}: {error}") from error


_NAMELESS = {
    "apply_patch": "apply_patch",
    "computer": "computer",
    "computer_use_preview": "computer",
    "local_shell": "local_shell",
    "mcp": "mcp_approval_request",
    "shell": "shell",
    "tool_search": "tool_search",
}
"""Tools of a provider's that the caller runs and that have a kind for a name."""


def tool_names(tool: Mapping[str, Any]) -> Iterator[str]:
    """The names under which a tool, as the provider wrote it, can be called."""
    if isinstance(kind := tool.get("type"), str) and kind in _NAMELESS:
        yield _NAMELESS[kind]
    inner = tool.get("function") or tool.get("toolSpec") or tool.get("systemTool") or tool
    declared = tool.get("functionDeclarations") or tool.get("function_declarations")
    for each in (inner, *(declared if isinstance(declared, list) else ())):
        if isinstance(each, Mapping) and isinstance(each.get("name"), str):
            yield each["name"]


def _model_call(data: Mapping[str, Any]) -> ModelCall:
    return ModelCall(
        **{
            **data,
            "messages": tuple(_message(message) for message in data["messages"]),
            "tools": tuple(data["tools"]),
            "response": ResponseText(data["response"]),
            "tool_calls": tuple(ToolCall(**call) for call in data["tool_calls"]),
            "usage": data["usage"] and Usage(**data["usage"]),
            "attempts": tuple(_attempt(attempt) for attempt in data["attempts"]),
            "error": data["error"] and CallError(**data["error"]),
            "prompts": tuple(data["prompts"]),
            "alternatives": tuple(data.get("alternatives", ())),
        }
    )


def _message(data: Mapping[str, Any]) -> Message:
    return Message(**{**data, "tool_calls": tuple(ToolCall(**call) for call in data["tool_calls"])})


def _attempt(data: Mapping[str, Any]) -> Attempt:
    error, polls = data["error"] and CallError(**data["error"]), tuple(data.get("polls", ()))
    return Attempt(**{**data, "error": error, "polls": polls})
