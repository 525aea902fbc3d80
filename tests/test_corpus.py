"""Cassettes that others recorded with real providers, read here and, independently, by plain look-ups in their JSON."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from botocore.eventstream import EventStreamBuffer

from pytest_agentops.exchange import Request
from pytest_agentops.trace import Attempt, ModelCall, Trace, Usage
from pytest_agentops.wire import provider_of, services

CORPUS = Path(os.environ.get("AGENTOPS_CORPUS") or Path(__file__).resolve().parent.parent.parent / "shared" / "corpus")

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}; name one with AGENTOPS_CORPUS"),
]

CASSETTES = sorted(CORPUS.rglob("*.yaml")) if CORPUS.is_dir() else []

Interaction = dict[str, Any]


@pytest.fixture(scope="module")
def corpus() -> list[tuple[Path, list[Interaction], Trace]]:
    """Each cassette with its interactions as YAML has them, and its trace."""
    return [
        (path, yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)["interactions"], Trace.from_cassette(path))
        for path in CASSETTES
    ]


def is_chat(interaction: Interaction) -> bool:
    return is_post(interaction) and path_of(interaction).endswith("/chat/completions")


def is_response(interaction: Interaction) -> bool:
    return is_post(interaction) and path_of(interaction).endswith("/responses")


def is_anthropic(interaction: Interaction) -> bool:
    return is_post(interaction) and path_of(interaction).endswith("/v1/messages")


def is_gemini(interaction: Interaction) -> bool:
    return is_post(interaction) and path_of(interaction).endswith((":generateContent", ":streamGenerateContent"))


def is_bedrock(interaction: Interaction) -> bool:
    return is_post(interaction) and path_of(interaction).endswith(("/converse", "/converse-stream"))


def is_cohere(interaction: Interaction) -> bool:
    return is_post(interaction) and path_of(interaction).endswith("/v2/chat")


SERVICES = (
    "/v1/files", "/v1/vector_stores", "/v1/conversations", "/v1/messages/count_tokens", ":countTokens",
    "/v1beta/fileSearchStores",
)  # fmt: skip
"""Where providers keep files and count tokens: no model answers there, nor at an MCP server, and nothing is odd about
it."""


def is_service(interaction: Interaction) -> bool:
    path, url = path_of(interaction), interaction["request"]["uri"]
    return "//mcp." in url or ("huggingface" not in url and any(each in path for each in SERVICES))


OTHERS = (is_anthropic, is_gemini, is_bedrock, is_cohere)


def is_known(interaction: Interaction) -> bool:
    return any(each(interaction) for each in (is_chat, is_response, *OTHERS))


def is_post(interaction: Interaction) -> bool:
    return interaction["request"]["method"] == "POST"


def path_of(interaction: Interaction) -> str:
    return urlsplit(interaction["request"]["uri"]).path.rstrip("/")


def status(interaction: Interaction) -> int:
    return interaction["response"]["status"]["code"]


def is_stream(interaction: Interaction) -> bool:
    headers = interaction["response"]["headers"]
    return headers.get("content-type", headers.get("Content-Type", [""]))[0].startswith("text/event-stream")


def answer(interaction: Interaction) -> Any:
    """The JSON of the answer; None where it is a stream, or no JSON."""
    response = interaction["response"]
    if "parsed_body" in response:
        return response["parsed_body"] if isinstance(response["parsed_body"], dict) else None
    stored = response["body"]["string"]
    try:
        return json.loads(stored) if stored else None
    except ValueError:
        return None


def read_by_attempt(trace: Trace) -> dict[int, ModelCall]:
    """The model calls by the number of the exchange that answered them."""
    return {call.attempts[-1].exchange: call for call in trace.model_calls}


def answered(
    corpus: list[tuple[Path, list[Interaction], Trace]], wanted: Any
) -> Iterator[tuple[str, dict[str, Any], ModelCall]]:
    """Every whole answer of this API that a provider gave, with the model call that it was read as."""
    for path, interactions, trace in corpus:
        calls = read_by_attempt(trace)
        for number, interaction in enumerate(interactions, 1):
            body = answer(interaction)
            if wanted(interaction) and status(interaction) < 300 and body is not None and not body.get("error"):
                yield f"{path.relative_to(CORPUS)} #{number}", body, calls[number]


def test_every_cassette_is_read(corpus):
    assert len(corpus) == len(CASSETTES) > 0
    for path, interactions, trace in corpus:
        attempts = sum(len(call.attempts) for call in trace.model_calls)
        unknown = sum(finding.kind == "unknown_endpoint" for finding in trace.findings)
        services = sum(map(is_service, interactions))
        assert attempts + unknown + services == trace.exchanges == len(interactions), path


def test_every_cassette_survives_as_json(corpus):
    for path, _, trace in corpus:
        assert Trace.from_json(trace.to_json()) == trace, path


def test_what_no_decoder_knows_is_a_finding_and_what_one_knows_is_a_model_call(corpus):
    for path, interactions, trace in corpus:
        known = [n for n, each in enumerate(interactions, 1) if is_known(each)]
        services = [n for n, each in enumerate(interactions, 1) if is_service(each)]
        unknown = [finding.exchange for finding in trace.findings if finding.kind == "unknown_endpoint"]
        attempts = [attempt.exchange for call in trace.model_calls for attempt in call.attempts]
        assert sorted(attempts) == known, path
        assert sorted([*known, *services, *unknown]) == list(range(1, len(interactions) + 1)), path


def test_chat_completions_have_the_text_the_tools_and_the_usage_of_their_json(corpus):
    seen = 0
    for place, body, call in answered(corpus, is_chat):
        message = body["choices"][0]["message"]
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
        usage = body.get("usage")
        assert call.response == (content or message.get("refusal") or ""), place
        assert [each.name for each in call.tool_calls] == [
            each["function"]["name"] for each in message.get("tool_calls") or []
        ], place
        assert [each.arguments for each in call.tool_calls] == [
            json.loads(each["function"]["arguments"] or "{}") or {} for each in message.get("tool_calls") or []
        ], place
        assert call.usage == (usage and chat_usage(usage)), place
        assert call.model == body["model"] or (body["model"] == "" and call.model), place
        assert call.finish_reason == body["choices"][0]["finish_reason"], place
        assert call.error is None, place
        seen += 1
    assert seen > 0


def chat_usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        usage["prompt_tokens"],
        usage["completion_tokens"],
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        input_audio_tokens=(usage.get("prompt_tokens_details") or {}).get("audio_tokens") or 0,
        output_audio_tokens=(usage.get("completion_tokens_details") or {}).get("audio_tokens") or 0,
    )


def is_for_the_caller(item: dict[str, Any]) -> bool:
    return item["type"] in ("function_call", "custom_tool_call") or item.get("execution") == "client"


def arguments_of(item: dict[str, Any]) -> Any:
    if "input" in item:
        return {"input": item["input"]}
    written = item["arguments"]
    return {"arguments": written} if item["type"] == "tool_search_call" else json.loads(written or "{}")


def test_responses_have_the_text_the_tools_and_the_usage_of_their_json(corpus):
    seen = 0
    for place, body, call in answered(corpus, is_response):
        output = body["output"]
        parts = [part for item in output if item["type"] == "message" for part in item["content"]]
        usage = body["usage"]
        assert call.response == "".join(part["text"] for part in parts if part["type"] == "output_text"), place
        asked = [item for item in output if item["type"].endswith("_call") and is_for_the_caller(item)]
        ran = [item for item in output if item["type"].endswith("_call") and not is_for_the_caller(item)]
        assert [(each.name, each.arguments) for each in call.tool_calls if not each.by_provider] == [
            (item.get("name", "tool_search"), arguments_of(item)) for item in asked
        ], place
        assert [each.id for each in call.tool_calls if each.by_provider] == [item["id"] for item in ran], place
        assert call.usage == Usage(
            usage["input_tokens"],
            usage["output_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
        ), place
        assert (call.id, call.model, call.error) == (body["id"], body["model"], None), place
        seen += 1
    assert seen > 0


def test_the_figures_of_the_provider_are_kept_as_it_wrote_them(corpus):
    seen = 0
    for wanted in (is_chat, is_response, *OTHERS):
        for place, body, call in answered(corpus, wanted):
            assert call.reported_usage == (body.get("usage") or body.get("usageMetadata")), place
            seen += call.reported_usage is not None
    assert seen > 0


def test_an_error_status_is_an_error_of_the_call(corpus):
    for path, interactions, trace in corpus:
        calls = read_by_attempt(trace)
        for number, interaction in enumerate(interactions, 1):
            if is_known(interaction) and status(interaction) >= 400:
                errors = [
                    attempt.error for call in calls.values() for attempt in call.attempts if attempt.exchange == number
                ]
                assert [error and error.status for error in errors] == [status(interaction)], (path, number)
                assert errors[0].message, (path, number)


def test_every_call_ends_with_a_reason_or_an_error(corpus):
    for path, _, trace in corpus:
        for call in trace.model_calls:
            assert call.finish_reason is not None or call.error, (path, call.number)


def test_every_stream_says_something_or_asks_for_a_tool(corpus):
    seen = 0
    for path, interactions, trace in corpus:
        calls = read_by_attempt(trace)
        for number, interaction in enumerate(interactions, 1):
            if (is_chat(interaction) or is_response(interaction)) and is_stream(interaction):
                call = calls[number]
                assert call.response or call.tool_calls, (path, number)
                assert call.usage is not None, (path, number)
                assert call.error is None, (path, number)
                seen += 1
    assert seen > 0


def test_a_result_is_joined_wherever_a_later_request_of_the_cassette_carries_one(corpus):
    joined = 0
    for path, interactions, trace in corpus:
        carried = set()
        for interaction in filter(lambda each: is_chat(each) or is_response(each), interactions):
            asked = interaction["request"].get("parsed_body") or {}
            carried |= {each.get("tool_call_id") for each in asked.get("messages") or [] if each.get("role") == "tool"}
            items = asked.get("input")
            carried |= {
                each.get("call_id")
                for each in (items if isinstance(items, list) else [])
                if str(each.get("type")).endswith(("call_output", "tool_search_output"))
            }
        for call in trace.tool_calls:
            kinds = trace.model_calls[call.step].provider
            if not call.by_provider and call.id and not kinds.startswith(("anthropic", "gcp.", "aws.", "cohere")):
                assert (call.status == "ok") == (call.id in carried), (path, call)
                joined += call.status == "ok"
    assert joined > 0


def anthropic(body: Any) -> tuple[str, list[tuple[str, Any]], Usage, str]:
    """Text, tools that the caller runs, usage and model, looked up in the JSON."""
    usage = body["usage"]
    read, written = (usage.get(f"cache_{what}_input_tokens") or 0 for what in ("read", "creation"))
    return (
        "".join(block["text"] for block in body["content"] if block["type"] == "text"),
        [(block["name"], block["input"]) for block in body["content"] if block["type"] == "tool_use"],
        Usage(
            usage["input_tokens"] + read + written,
            usage["output_tokens"],
            read,
            (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
            written,
        ),
        body["model"],
    )


def gemini(body: Any) -> tuple[str, list[tuple[str, Any]], Usage, str]:
    parts = ((body.get("candidates") or [{}])[0].get("content") or {}).get("parts") or []
    usage = body["usageMetadata"]
    thought = usage.get("thoughtsTokenCount", 0)
    return (
        "".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
        [
            (part["functionCall"]["name"], part["functionCall"].get("args") or {})
            for part in parts
            if "functionCall" in part
        ],
        Usage(
            usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0),
            usage.get("candidatesTokenCount", 0) + thought,
            usage.get("cachedContentTokenCount", 0),
            thought,
            input_audio_tokens=sum(
                each["tokenCount"] for each in usage.get("promptTokensDetails", []) if each["modality"] == "AUDIO"
            ),
        ),
        body["modelVersion"],
    )


def bedrock(body: Any) -> tuple[str, list[tuple[str, Any]], Usage, str]:
    blocks, usage = body["output"]["message"]["content"], body["usage"]
    read, written = (usage.get(f"cache{what}InputTokens") or 0 for what in ("Read", "Write"))
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    return (
        "".join(block["text"] for block in blocks if "text" in block),
        [(use["name"], use["input"]) for use in uses if use.get("type") != "server_tool_use"],
        Usage(usage["inputTokens"] + read + written, usage["outputTokens"], read, 0, written),
        "",
    )


def cohere(body: Any) -> tuple[str, list[tuple[str, Any]], Usage, str]:
    message, tokens = body["message"], body["usage"]["tokens"]
    return (
        "".join(part["text"] for part in message.get("content") or [] if part["type"] == "text"),
        [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or []
        ],
        Usage(int(tokens["input_tokens"]), int(tokens["output_tokens"]), int(body["usage"].get("cached_tokens") or 0)),
        "",
    )


@pytest.mark.parametrize(
    ("wanted", "look_up"),
    [(is_anthropic, anthropic), (is_gemini, gemini), (is_bedrock, bedrock), (is_cohere, cohere)],
    ids=lambda each: each.__name__,
)
def test_other_formats_have_the_text_the_tools_and_the_usage_of_their_json(corpus, wanted, look_up):
    seen = 0
    for place, body, call in answered(corpus, wanted):
        text, tools, usage, model = look_up(body)
        assert call.response == text, place
        assert [(each.name, each.arguments) for each in call.tool_calls if not each.by_provider] == tools, place
        assert call.usage == usage, place
        assert call.model == model or (not model and call.model), place
        assert call.error is None, place
        seen += 1
    assert seen > 0


# --- the table by provider -------------------------------------------------------------------------------------------


def chat(body: Any) -> tuple[str, list[tuple[str, Any]], Usage | None, str]:
    message, usage = body["choices"][0]["message"], body.get("usage")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    calls = [each["function"] for each in message.get("tool_calls") or []]
    return (
        content or message.get("refusal") or "",
        [(call["name"], json.loads(call["arguments"] or "{}") or {}) for call in calls],
        usage and chat_usage(usage),
        body["model"],
    )


def response(body: Any) -> tuple[str, list[tuple[str, Any]], Usage | None, str]:
    output, usage = body["output"], body["usage"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    asked = [item for item in output if item["type"].endswith("_call") and is_for_the_caller(item)]
    return (
        "".join(part["text"] for part in parts if part["type"] == "output_text"),
        [(item.get("name", "tool_search"), arguments_of(item)) for item in asked],
        Usage(
            usage["input_tokens"],
            usage["output_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
        ),
        body["model"],
    )


LOOK_UPS = {
    is_chat: chat,
    is_response: response,
    is_anthropic: anthropic,
    is_gemini: gemini,
    is_bedrock: bedrock,
    is_cohere: cohere,
}


def said(interaction: Interaction) -> str:
    """The text of a streamed answer, put together from its events in the shortest way."""
    raw = interaction["response"]["body"]["string"]
    if is_bedrock(interaction):
        buffer = EventStreamBuffer()
        buffer.add_data(raw)
        return "".join((json.loads(each.payload).get("delta") or {}).get("text", "") for each in buffer)
    lines = (raw.decode() if isinstance(raw, bytes) else raw).splitlines()
    sent = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    return "".join(piece(json.loads(each)) for each in sent if each not in ("", "[DONE]"))


def piece(event: Any) -> str:
    """What one event adds to the text, whoever sent it."""
    if event.get("type") == "response.output_text.delta":
        return event["delta"]
    if event.get("type") in ("content_block_delta", "content_block_start"):
        block = event.get("delta") or event["content_block"]
        return block["text"] if block["type"] in ("text", "text_delta") else ""
    for choice in event.get("choices") or []:
        return (choice.get("delta") or {}).get("content") or ""
    for candidate in event.get("candidates") or []:
        parts = (candidate.get("content") or {}).get("parts") or []
        return "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
    return ""


def equal(interaction: Interaction, attempt: Attempt, call: ModelCall | None) -> bool:
    """Whether a model call is what plain look-ups in its answer give; of a stream, whether its text is.

    Of an answer that is an error it has to be that error; `call` is None where the client tried again.
    """
    body = answer(interaction)
    if status(interaction) >= 400:
        return attempt.error is not None and attempt.error.status == status(interaction)
    if call is None or (body is not None and body.get("error")):
        return attempt.error is not None
    if body is None:
        return call.response == said(interaction)
    text, tools, usage, model = next(look_up for wanted, look_up in LOOK_UPS.items() if wanted(interaction))(body)
    asked = [(each.name, each.arguments) for each in call.tool_calls if not each.by_provider]
    return (call.response, asked, call.usage) == (text, tools, usage) and (not model or call.model == model)


def table(corpus: list[tuple[Path, list[Interaction], Trace]]) -> list[str]:
    """A row for each provider, and a line for each kind of exchange that is no model call, saying why."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    for _, interactions, trace in corpus:
        calls = read_by_attempt(trace)
        attempts = {attempt.exchange: attempt for call in trace.model_calls for attempt in call.attempts}
        for number, interaction in enumerate(interactions, 1):
            sent = interaction["request"]
            request = Request(sent["method"], sent["uri"])
            if number in attempts:
                same = equal(interaction, attempts[number], calls.get(number))
                rows[provider_of(request)] += Counter(exchanges=1, decoded=1, equal=int(same))
                continue
            service = services.service_of(request)
            provider = provider_of(request) if service else "elsewhere"
            rows[provider] += Counter(exchanges=1, decoded=0, equal=0)
            reasons[f"{provider}: {service or f'{request.location.hostname}, no model answers there'}"] += 1
    lines = ["| provider | exchanges | decoded | equal |", "| --- | --- | --- | --- |"]
    for provider in sorted(rows, key=lambda each: (each == "elsewhere", each)):
        figures = rows[provider]
        lines.append(f"| {provider} | {figures['exchanges']} | {figures['decoded']} | {figures['equal']} |")
    total = sum(rows.values(), Counter())
    lines.append(f"| all | {total['exchanges']} | {total['decoded']} | {total['equal']} |")
    return [*lines, "", "Not decoded:", "", *(f"- {count} of {reason}" for reason, count in sorted(reasons.items()))]


def test_every_model_call_is_equal_and_the_table_in_the_docs_is_this_one(corpus, record_property):
    lines = table(corpus)
    record_property("corpus", json.dumps(lines))

    for line in lines[2 : lines.index("")]:
        provider, _, decoded, same = line.strip("| ").split(" | ")
        assert decoded == same, provider
    if "AGENTOPS_CORPUS" not in os.environ:
        assert "\n".join(lines) in (Path(__file__).parent.parent / "docs" / "traces.md").read_text("utf-8"), "\n".join(
            lines
        )
