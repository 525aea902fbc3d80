"""Exchanges put together into a trace: attempts of one call, results joined to calls, findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from pytest_agentops import rpc
from pytest_agentops.exchange import Exchange, header
from pytest_agentops.prices import priced
from pytest_agentops.structure import woven
from pytest_agentops.trace import (
    Attempt,
    Finding,
    Message,
    ModelCall,
    Render,
    Source,
    Span,
    ToolCall,
    Trace,
    tool_names,
)
from pytest_agentops.wire import (
    Format,
    anthropic_messages,
    bedrock_converse,
    bedrock_invoke,
    cohere_chat,
    embeddings,
    gemini,
    ollama,
    openai_chat,
    openai_realtime,
    openai_responses,
    reranking,
    services,
)

FORMATS: tuple[Format, ...] = (
    openai_chat, openai_responses, openai_realtime, anthropic_messages, gemini, bedrock_converse, bedrock_invoke,
    cohere_chat, embeddings, reranking, ollama,
)  # fmt: skip
"""Every format that is understood, asked in this order."""


def trace_of(
    exchanges: Sequence[Exchange],
    *,
    source: Source,
    prompts: Sequence[Render] = (),
    spans: Sequence[Span] = (),
    recorded: datetime | None = None,
) -> Trace:
    """The trace that these exchanges tell, in the order of their numbers.

    What a judge was asked is left out: `judgements` gives that. `spans` are what else was told of the run. `recorded`
    is when it happened; it picks the prices.
    """
    ordered = sorted((each for each in exchanges if not each.judge), key=lambda exchange: exchange.number)
    calls: list[_Call] = []
    failed: list[_Call] = []
    unknown: list[Finding] = []
    for reader, exchange in _read(ordered):
        if call := _asked_again(exchange, calls):
            call.polls.append(exchange)
            continue
        if reader is None:
            if services.service_of(exchange.request) is None and not rpc.speaks(exchange.request, ordered):
                unknown.append(_unknown(exchange))
            continue
        if call := _retried(exchange, failed):
            call.tries.append(exchange)
        else:
            calls.append(call := _Call(reader, [exchange]))
            failed.append(call)
        if not exchange.failed:
            failed.remove(call)
    spans = (*spans, *rpc.spans_of(ordered, spans))
    told = woven(list(_answered(list(_whole(call.decoded(recorded) for call in calls)))), spans)
    model_calls = told.model_calls
    findings = [*unknown, *(finding for call in model_calls for finding in _findings(call))]
    chats = [call for call in model_calls if call.operation == "chat"]
    if chats and not any(call.is_answer for call in chats):
        findings.append(Finding("no_response", "no model call ended in an answer", chats[-1].number))
    return Trace(
        model_calls=model_calls,
        prompts=tuple(prompts),
        findings=tuple(sorted(findings, key=lambda finding: finding.exchange or 0)),
        source=source,
        exchanges=len(ordered),
        seconds=_seconds(ordered),
        program_calls=told.program_calls,
        spans=spans,
    )


def _read(exchanges: Sequence[Exchange]) -> Iterator[tuple[Format | None, Exchange]]:
    """The exchanges, each with who reads it; a WebSocket in its parts where its format has several calls on one."""
    for exchange in exchanges:
        reader = next((reader for reader in FORMATS if reader.reads(exchange.request)), None)
        parts = getattr(reader, "parts", None)
        yield from ((reader, part) for part in (parts(exchange) if parts is not None else (exchange,)))


def judgements(exchanges: Sequence[Exchange], *, recorded: datetime | None = None) -> tuple[ModelCall, ...]:
    """The model calls that judged the run, which are no part of its trace, in order."""
    asked = [replace(each, judge=False) for each in exchanges if each.judge]
    return trace_of(asked, source="imported", recorded=recorded).model_calls


@dataclass
class _Call:
    """One model call in the making: the exchanges that tried it."""

    reader: Format
    tries: list[Exchange] = field(default_factory=list)
    polls: list[Exchange] = field(default_factory=list)
    """What asked later for an answer that is made in the background."""

    @cached_property
    def id(self) -> str:
        """The id of the answer, or of what is to become it, when first asked for."""
        return self.reader.decode(self.tries[-1]).id

    def decoded(self, recorded: datetime | None) -> ModelCall:
        first, last = self.tries[0].timing, self.tries[-1]
        attempts = [self.reader.decode(exchange) for exchange in self.tries]
        tries = [
            Attempt(exchange.number, exchange.timing.seconds if exchange.timing else None, attempt.error)
            for exchange, attempt in zip(self.tries, attempts, strict=True)
        ]
        if self.polls:
            asked = attempts[-1]
            made, until = self._made(asked)
            # Whoever asks again does not repeat the question.
            attempts[-1] = replace(made, messages=asked.messages, tools=asked.tools, continues=asked.continues)
            polls = tuple(exchange.number for exchange in self.polls)
            tries[-1] = replace(tries[-1], error=made.error, polls=polls, latency=_seconds([last, *until]))
        call = replace(
            attempts[-1],
            attempts=tuple(tries),
            started=first.started if first else None,
            prompts=last.prompts,
            span=last.span,
        )
        return priced(call, last.request.url, recorded)

    def _made(self, begun: ModelCall) -> tuple[ModelCall, Sequence[Exchange]]:
        """What an answer that was made in the background came to, and what had asked for it by then."""
        made, until = begun, 0
        for count, exchange in enumerate(self.polls, 1):
            if made.finish_reason is not None:
                break  # Who asks for an answer that was there already looks something up.
            until = count
            if not exchange.failed:
                made = self.reader.decode(exchange)
        return made, self.polls[:until]


def _retried(exchange: Exchange, failed: Sequence[_Call]) -> _Call | None:
    """The failed call that this exchange tries again: the same request, sent after the failure came back.

    The count that the openai and anthropic clients send along is believed where it is there, so that an application
    that repeats a failed question on its own has asked twice.
    """
    count = header(exchange.request.headers, "x-stainless-retry-count")
    if count == "0":
        return None
    for call in reversed(failed):
        last = call.tries[-1]
        same = (last.request.method, last.request.url, last.request.body) == (
            exchange.request.method,
            exchange.request.url,
            exchange.request.body,
        )
        if same and (count is None or count == str(len(call.tries))):
            return call
    return None


def _asked_again(exchange: Exchange, calls: Sequence[_Call]) -> _Call | None:
    """The call whose answer this asks for once more, where it is made in the background."""
    wanted = openai_responses.later(exchange.request)
    if wanted is None:
        return None
    return next((call for call in reversed(calls) if call.reader is openai_responses and call.id == wanted), None)


def _whole(calls: Iterable[ModelCall]) -> Iterator[ModelCall]:
    """The calls, those that go on with a conversation that the provider keeps with what was said before.

    A system message gives way to a new one: instructions are of one call alone.
    """
    answers: dict[str, ModelCall] = {}
    latest: dict[str, ModelCall] = {}
    for call in calls:
        earlier = answers.get(call.continues or "") or latest.get(call.conversation or "")
        if earlier is not None and earlier.error is None:
            before, now = list(earlier.messages), list(call.messages)
            instructed = now[:1] if now and now[0].role == "system" else []
            if instructed and before and before[0].role == "system":
                del before[0]
            before.append(Message("assistant", str(earlier.response), earlier.tool_calls))
            call = replace(call, messages=(*instructed, *before, *now[len(instructed) :]))
        answers[call.id] = call
        if call.conversation and call.error is None:
            latest[call.conversation] = call
        yield call


def _answered(calls: Sequence[ModelCall]) -> Iterator[ModelCall]:
    """The calls with their tool calls' results, each from the first later request that carries one."""
    step = 0
    for index, call in enumerate(calls):
        yield replace(
            call,
            tool_calls=tuple(
                _with_result(replace(tool_call, step=step), calls[index + 1 :]) for tool_call in call.tool_calls
            ),
        )
        step += call.operation == "chat"


def _with_result(tool_call: ToolCall, later: Sequence[ModelCall]) -> ToolCall:
    if tool_call.by_provider or not tool_call.id:
        return tool_call
    for call in later:
        results = [message for message in call.messages if message.tool_call_id == tool_call.id]
        if results:  # Some servers number the calls of each step anew; then the last result is this step's.
            return replace(tool_call, result=results[-1].content, status="error" if results[-1].failed else "ok")
    return tool_call


def _unknown(exchange: Exchange) -> Finding:
    request = exchange.request
    where = f"{request.method} {request.location.scheme}://{request.location.hostname}{request.location.path}"
    return Finding("unknown_endpoint", f"{where} is no model's endpoint that we know", exchange.number)


def _findings(call: ModelCall) -> Iterator[Finding]:
    if call.error is not None:
        yield Finding("failed", f"{call.model or call.id} failed: {call.error}", call.number)
        return
    if call.refusal is not None:
        yield Finding("refused", f"{call.model} refused: {call.refusal}", call.number)
    if call.finish_reason in (None, "length", "incomplete"):
        how = "was cut off at its token limit" if call.finish_reason == "length" else "broke off before its end"
        yield Finding("cut_off", f"the answer of {call.model or call.id} {how}", call.number)
    if call.usage is None and call.operation != "rerank":
        yield Finding("no_usage", f"{call.model or call.id} reported no token counts", call.number)
    offered = [name for tool in call.tools for name in tool_names(tool)]
    for tool_call in call.tool_calls:
        if offered and tool_call.name not in offered and not tool_call.by_provider:
            yield Finding("unoffered", f"{tool_call.name} was called and not among the tools offered", call.number)
        if tool_call.malformed is not None:
            yield Finding("malformed", f"{tool_call.name} got arguments that are not JSON", call.number)
        if tool_call.status == "unanswered":
            yield Finding("unanswered", f"{tool_call} was asked for and no result was sent back", call.number)


def _seconds(exchanges: Sequence[Exchange]) -> float | None:
    timings = [exchange.timing for exchange in exchanges]
    if not timings or any(timing is None for timing in timings):
        return None
    known = [timing for timing in timings if timing is not None]
    return round(max(t.started + t.seconds for t in known) - min(t.started for t in known), 4)
