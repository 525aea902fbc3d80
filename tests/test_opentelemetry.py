"""What OpenTelemetry tells of a run, in each dialect, and a trace written as OpenTelemetry's spans."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pytest_agentops import agent
from pytest_agentops.capture import Recording, watching
from pytest_agentops.cli import main
from pytest_agentops.errors import AgentopsError
from pytest_agentops.formats.otlp import _encoded, otlp, send
from pytest_agentops.testing import Asks, Says, ScriptedModel, ToolRequest
from pytest_agentops.trace import Span, Trace, Usage

CASSETTES = Path(__file__).resolve().parent.parent / "examples" / "frameworks" / "cassettes"


@pytest.fixture(params=["a provider of its own", "no provider"])
def tracer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> otel.Tracer:
    """A tracer of a program with a provider, and one of a program without any."""
    provider = TracerProvider(shutdown_on_exit=False) if request.param == "a provider of its own" else None
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", provider)
    return otel.get_tracer("test") if provider else otel.ProxyTracer("test")


NEWEST = {
    "agent": {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"},
    "tool": {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.call.arguments": '{"q": 1}',
        "gen_ai.tool.call.result": '"found"',
    },
    "model": {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.output.messages": json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": "hello"}], "finish_reason": "stop"}]
        ),
    },
}
BEFORE_1_37 = {
    **NEWEST,
    "model": {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.prompt_tokens": 7,
        "gen_ai.usage.completion_tokens": 3,
        "gen_ai.completion.0.content": "hello",
    },
}
OPENINFERENCE = {
    "agent": {"openinference.span.kind": "AGENT", "agent.name": "planner"},
    "tool": {
        "openinference.span.kind": "TOOL",
        "tool.name": "search",
        "tool_call.id": "call_1",
        "tool.parameters": '{"q": 1}',
        "output.value": "found",
    },
    "model": {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-5-mini",
        "llm.token_count.prompt": 7,
        "llm.token_count.completion": 3,
        "llm.output_messages.0.message.content": "hello",
    },
}
OPENLLMETRY = {
    "agent": {"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"},
    "tool": {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "search",
        "traceloop.entity.input": '{"q": 1}',
        "traceloop.entity.output": '"found"',
    },
    "model": {**BEFORE_1_37["model"], "llm.request.type": "chat"},
}
ADK = {
    "agent": {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"},
    "tool": {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "call_1",
        "gcp.vertex.agent.tool_call_args": '{"q": 1}',
        "gcp.vertex.agent.tool_response": '"found"',
    },
    "model": {
        "gen_ai.system": "gcp.vertex.agent",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gcp.vertex.agent.llm_response": json.dumps({"content": {"parts": [{"text": "hello"}]}}),
    },
}
DIALECTS = {
    "newest": NEWEST, "before 1.37": BEFORE_1_37, "OpenInference": OPENINFERENCE, "OpenLLMetry": OPENLLMETRY,
    "google-adk": ADK,
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_tells_of_agents_tools_and_models(dialect: str, tracer: otel.Tracer) -> None:
    said = DIALECTS[dialect]
    with watching(Recording("test")) as recording, tracer.start_as_current_span("run", attributes=said["agent"]):
        with tracer.start_as_current_span("ask") as asking:
            asking.set_attributes(said["model"])
        with tracer.start_as_current_span("db query"), tracer.start_as_current_span("run it") as running:
            running.set_attributes(said["tool"])
    trace = recording.freeze()

    assert [(span.kind, span.name, span.parent) for span in trace.spans] == [
        ("agent", "planner", None), ("model", "gpt-5-mini", 1), ("tool", "search", 1),
    ]  # fmt: skip
    (model,) = trace.model_calls
    assert (model.model, model.usage, str(model.response), model.agent) == (
        "gpt-5-mini",
        Usage(7, 3),
        "hello",
        "planner",
    )
    (call,) = trace.tool_calls
    assert (call.name, call.arguments, call.result, call.by_program) == ("search", {"q": 1}, "found", True)
    assert trace.response == "hello"


def test_a_call_seen_on_the_wire_and_in_a_span_is_one_model_call(tracer: otel.Tracer) -> None:
    with ScriptedModel(Asks(ToolRequest("search", {"q": 1})), Says("done")) as model:
        with watching(Recording("test")) as recording:
            answers = []
            for _ in range(2):
                with tracer.start_as_current_span("chat", attributes=NEWEST["model"]) as span:
                    sent = [{"role": "user", "content": "hi"}, *answers]
                    url = f"{model.base_url}/chat/completions"
                    got = httpx2.post(url, json={"model": "gpt-5-mini", "messages": sent}).json()
                    span.set_attribute("gen_ai.response.id", got["id"])
                said = got["choices"][0]["message"]
                if said.get("tool_calls"):
                    with tracer.start_as_current_span("execute_tool search", attributes=NEWEST["tool"]):
                        answers = [said, {"role": "tool", "tool_call_id": "call_1", "content": "found"}]
        trace = recording.freeze()

    assert [(call.id, call.span) for call in trace.model_calls] == [("chatcmpl-1", 1), ("chatcmpl-2", 3)]
    assert [(call.by_program, call.seconds is not None, call.span) for call in trace.tool_calls] == [(False, True, 2)]
    assert trace.spans[0].output is None, "the wire tells what was said"


def test_an_error_of_a_tool_is_told(tracer: otel.Tracer) -> None:
    with (
        watching(Recording("test")) as recording,
        pytest.raises(LookupError),
        tracer.start_as_current_span("t", attributes=NEWEST["tool"]),
    ):
        raise LookupError("no such order")
    (call,) = recording.freeze().tool_calls

    assert (call.status, call.result) == ("error", "LookupError: no such order")


def test_decorators_and_opentelemetry_stand_inside_each_other(tracer: otel.Tracer) -> None:
    @agent
    def inner() -> None:
        with tracer.start_as_current_span("t", attributes=NEWEST["tool"]):
            pass

    with watching(Recording("test")) as recording, tracer.start_as_current_span("a", attributes=NEWEST["agent"]):
        inner()

    assert [(span.name, span.parent) for span in recording.freeze().spans] == [
        ("planner", None), ("inner", 1), ("search", 2),
    ]  # fmt: skip


def test_nothing_stays_behind_where_the_program_has_no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", None)
    tracer, before = otel.ProxyTracer("test"), (otel.ProxyTracer.__dict__["_tracer"], otel.set_tracer_provider)
    with watching(Recording("test")) as recording, tracer.start_as_current_span("a", attributes=NEWEST["agent"]):
        pass

    assert len(recording.freeze().spans) == 1
    assert otel._TRACER_PROVIDER is None
    assert (otel.ProxyTracer.__dict__["_tracer"], otel.set_tracer_provider) == before
    assert tracer._real_tracer is None
    with tracer.start_as_current_span("b") as span:
        assert not span.is_recording()


def test_a_provider_that_comes_meanwhile_is_joined_and_goes_on_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(otel, "_TRACER_PROVIDER_SET_ONCE", type(otel._TRACER_PROVIDER_SET_ONCE)())
    exporter = InMemorySpanExporter()
    with watching(Recording("test")) as recording:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        otel.set_tracer_provider(provider)
        with otel.get_tracer("test").start_as_current_span("a", attributes=NEWEST["agent"]):
            pass
    with otel.get_tracer("test").start_as_current_span("after", attributes=NEWEST["agent"]):
        pass

    assert [span.name for span in recording.freeze().spans] == ["planner"]
    assert [span.name for span in exporter.get_finished_spans()] == ["a", "after"]


# --- written as OTLP -------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded() -> Trace:
    return Trace.from_cassette(CASSETTES / "test_openai_agents_shop" / "test_the_desk_hands_over_to_orders.yaml")


def as_protobuf(document: dict) -> object:
    """The document as the collectors' own schema reads it."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest.FromString(_encoded(document)[1])


def test_a_trace_is_written_as_the_collectors_schema_wants_it(recorded: Trace) -> None:
    document = otlp(recorded, "test_desk", began=datetime(2026, 11, 28, tzinfo=UTC))

    (resource,) = as_protobuf(document).resource_spans
    spans = resource.scope_spans[0].spans
    names = {span.span_id: span.name for span in spans}
    tree = [(names.get(span.parent_span_id, ""), span.name) for span in spans]
    model = "chat qwen2.5-coder-1.5b-instruct"
    assert tree == [
        ("", "test_desk"),
        ("test_desk", "invoke_agent desk"),
        ("invoke_agent desk", "no_secrets"),
        ("invoke_agent desk", "desk -> orders"),
        ("test_desk", "invoke_agent orders"),
        ("invoke_agent orders", "execute_tool look_up_order"),
        ("invoke_agent desk", model),
        ("invoke_agent orders", model),
        ("invoke_agent orders", model),
    ]
    assert len({span.trace_id for span in spans}) == 1
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 1_790_000_000_000_000_000 for span in spans)
    told = {each.key: each.value for each in spans[-1].attributes}
    assert told["gen_ai.usage.input_tokens"].int_value == recorded.model_calls[2].usage.input_tokens
    assert told["gen_ai.response.finish_reasons"].array_value.values[0].string_value == "stop"
    assert json.loads(told["gen_ai.input.messages"].string_value)[0]["role"] == "system"
    assert otlp(recorded, "test_desk", began=datetime(2026, 11, 28, tzinfo=UTC)) == document


def test_a_trace_of_the_wire_alone_has_its_tools_too() -> None:
    (path,) = CASSETTES.glob("test_frameworks/*[[]anthropic*")
    document = otlp(Trace.from_cassette(path), "anthropic")

    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["name"].split()[0] for span in spans] == ["anthropic", "chat", "execute_tool", "chat"]


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, str, bytes, str | None]]]]:
    """A collector on loopback, and what it was sent; it refuses what has no key where one is asked for."""
    got: list[tuple[str, str, bytes, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, self.headers["content-type"], body, self.headers.get("x-key")))
            if self.headers.get("x-key") == "no HTTP":
                self.wfile.write(b"nonsense\r\n\r\n")
                return
            self.send_response(200 if self.headers.get("x-key") != "wrong" else 401)
            self.end_headers()
            partly = b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too many"}}'
            self.wfile.write({"wrong": b"no such key", "partly": partly}.get(self.headers.get("x-key") or "", b"{}"))

        def log_message(self, *_args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def test_odd_values_of_attributes_are_written_as_text(recorded: Trace) -> None:
    odd = {"a": float("inf"), "b": float("nan"), "c": 1 << 63, "d": -(1 << 63), "e": [None, {"f": 1}]}
    document = otlp(replace(recorded, spans=(Span(1, "task", "odd", parent=99, attributes=odd),)), "x")

    spans = as_protobuf(document).resource_spans[0].scope_spans[0].spans
    told = {each.key: each.value for span in spans if span.name == "odd" for each in span.attributes}
    assert (told["a"].string_value, told["b"].string_value) == ("inf", "nan")
    assert (told["c"].string_value, told["d"].int_value) == (str(1 << 63), -(1 << 63))
    assert [each.string_value for each in told["e"].array_value.values] == ["", '{"f": 1}']
    assert "Infinity" not in json.dumps(document)
    assert "NaN" not in json.dumps(document)


def test_a_collector_gets_what_is_printed(collector, capsys) -> None:
    url, got = collector
    path = str(CASSETTES / "test_openai_agents_shop" / "test_the_desk_hands_over_to_orders.yaml")

    assert main(["traces", "export", path]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["traces", "export", path, "--to", url, "--header", "x-key=secret"]) == 0

    kind, sent = _encoded(printed)
    assert kind == "application/x-protobuf"
    assert got == [("/v1/traces", kind, sent, "secret")]
    assert capsys.readouterr().out == f"{path}: sent as 9 spans\n"


def test_without_the_extra_it_is_sent_as_json(collector, recorded, monkeypatch) -> None:
    url, got = collector
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    document = otlp(recorded, "x")

    send(document, f"{url}/v1/traces")

    ((path, kind, sent, _key),) = got
    assert (path, kind, json.loads(sent)) == ("/v1/traces", "application/json", document)


def test_a_collector_that_refuses_or_is_not_there_is_told_of(collector, recorded, capsys) -> None:
    url, _ = collector
    with pytest.raises(AgentopsError, match="refused the trace: 401 Unauthorized no such key"):
        send(otlp(recorded, "x"), url, {"x-key": "wrong"})
    with pytest.raises(AgentopsError, match=r"no collector answers at http://127.0.0.1:1/v1/traces: .*refused"):
        send(otlp(recorded, "x"), "http://127.0.0.1:1")
    with pytest.raises(AgentopsError, match="refused 3 of the spans: too many"):
        send(otlp(recorded, "x"), url, {"x-key": "partly"})
    with pytest.raises(AgentopsError, match=r"no collector answers at .*: nonsense"):
        send(otlp(recorded, "x"), url, {"x-key": "no HTTP"})
    with pytest.raises(AgentopsError, match="'localhost:4318' is no address of a collector"):
        send(otlp(recorded, "x"), "localhost:4318")
    assert main(["traces", "export", "x.yaml", "--header", "nonsense"]) == 2
    assert "--header 'nonsense' is not NAME=VALUE" in capsys.readouterr().err
