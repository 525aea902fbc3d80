"""Model calls that are no conversation, what stands beside them, and the API of Ollama."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_agentops.assembly import trace_of
from pytest_agentops.exchange import Exchange, Request, Response
from pytest_agentops.expect.budgets import budget
from pytest_agentops.explain import trace_lines
from pytest_agentops.trace import Message, ToolCall, Trace, Usage

JSON = (("content-type", "application/json"),)
LINES = (("content-type", "application/x-ndjson"),)
OPENAI = "https://api.openai.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-embedding-001"
VERTEX = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models"
OLLAMA = "http://localhost:11434"


def exchange(
    url: str, asked: Any, answer: Any, *, number: int = 1, status: int = 200, headers: Any = JSON, method: str = "POST"
) -> Exchange:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Exchange(number, Request(method, url, JSON, json.dumps(asked).encode()), Response(status, "", headers, body))


def read(*exchanges: Exchange) -> Trace:
    return trace_of(exchanges, source="imported")


def embedded(number: int = 1, **about: Any) -> Exchange:
    answer = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"index": 0, "embedding": [0.1]}],
        "usage": {"prompt_tokens": 1_000_000, "total_tokens": 1_000_000},
    }
    asked = {"model": "text-embedding-3-small", "input": ["Where?"]}
    return exchange(f"{OPENAI}/embeddings", asked, answer, number=number, **about)


def chatted(number: int, message: Any, *messages: Any) -> Exchange:
    answer = {
        "id": f"c{number}",
        "model": "gpt-4o-mini",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0},
    }
    return exchange(f"{OPENAI}/chat/completions", {"model": "gpt-4o-mini", "messages": messages}, answer, number=number)


# --- embeddings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "asked", "answer", "provider", "model", "texts", "tokens"),
    [
        pytest.param(
            f"{OPENAI}/embeddings",
            {"model": "text-embedding-3-small", "input": "Where?"},
            {"model": "text-embedding-3-small", "data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}},
            "openai", "text-embedding-3-small", ["Where?"], 3, id="openai",
        ),
        pytest.param(
            f"{OPENAI}/embeddings",
            {"model": "m", "input": [[1, 2], [3]]}, {"data": [], "usage": {"prompt_tokens": 3}},
            "openai", "m", [[1, 2], [3]], 3, id="tokens",
        ),
        pytest.param(
            "https://me.openai.azure.com/openai/deployments/d/embeddings?api-version=1",
            {"input": [1, 2]}, {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 2}},
            "azure.ai.openai", "text-embedding-3-small", [[1, 2]], 2, id="azure",
        ),
        pytest.param(
            "https://api.voyageai.com/v1/embeddings",
            {"model": "voyage-3", "input": ["a", "b"]}, {"model": "voyage-3", "usage": {"total_tokens": 4}},
            "api.voyageai.com", "voyage-3", ["a", "b"], 4, id="voyage",
        ),
        pytest.param(
            "https://api.cohere.com/v2/embed",
            {"model": "embed-v4.0", "texts": ["a"], "embedding_types": ["float"]},
            {"id": "e1", "embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 5.0}}},
            "cohere", "embed-v4.0", ["a"], 5, id="cohere",
        ),
        pytest.param(
            "https://api.cohere.com/v1/embed",
            {"model": "embed-v4.0", "images": ["data:x"]}, {"meta": {"billed_units": {"image_tokens": 7}}},
            "cohere", "embed-v4.0", ["data:x"], 7, id="cohere's images",
        ),
        pytest.param(
            f"{GOOGLE}:embedContent",
            {"content": {"parts": [{"text": "Wh"}, {"text": "ere?"}]}},
            {"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 2}},
            "gcp.gemini", "gemini-embedding-001", ["Where?"], 2, id="gemini",
        ),
        pytest.param(
            f"{GOOGLE}:batchEmbedContents",
            {"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}}]},
            {"embeddings": [{"values": [0.1]}]},
            "gcp.gemini", "gemini-embedding-001", ["a"], None, id="gemini in a batch",
        ),
        pytest.param(
            f"{VERTEX}/text-embedding-005:predict",
            {"instances": [{"content": "a"}, {"content": "b"}]},
            {"predictions": [{"embeddings": {"values": [0.1], "statistics": {"token_count": 2.0}}}] * 2},
            "gcp.vertex_ai", "text-embedding-005", ["a", "b"], 4, id="vertex",
        ),
        pytest.param(
            f"{OLLAMA}/api/embed",
            {"model": "nomic-embed-text", "input": ["a"]},
            {"model": "nomic-embed-text", "embeddings": [[0.1]], "prompt_eval_count": 6},
            "localhost", "nomic-embed-text", ["a"], 6, id="ollama",
        ),
    ],
)  # fmt: skip
def test_embeddings_are_model_calls_of_every_provider(url, asked, answer, provider, model, texts, tokens):
    (call,) = read(exchange(url, asked, answer)).model_calls

    assert (call.operation, call.provider, call.model) == ("embeddings", provider, model)
    assert [message.content for message in call.messages] == texts
    assert call.usage == (None if tokens is None else Usage(tokens))
    assert (call.response, call.tool_calls, call.error) == ("", (), None)


def test_what_embeds_is_counted_and_paid_and_is_no_part_of_the_conversation():
    asks = {
        "content": None,
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
    }
    question = {"role": "user", "content": "Where?"}
    trace = read(
        embedded(1),
        chatted(2, asks, question),
        embedded(3),
        chatted(4, {"content": "Home."}, question, asks, {"role": "tool", "tool_call_id": "t1", "content": "home"}),
        embedded(5),
    )

    assert [call.operation for call in trace.model_calls] == ["embeddings", "chat", "embeddings", "chat", "embeddings"]
    assert [step.model_call.id for step in trace.steps] == ["c2", "c4"]
    assert trace.tool_calls == (ToolCall("search", {}, "home", "ok", "t1", step=0),)
    assert (trace.response, trace.messages[-1].content) == ("Home.", "Home.")
    assert [[call.id for call in turn.model_calls] for turn in trace.turns] == [["c2", "c4"]]
    assert (trace.usage.input_tokens, round(trace.cost, 6)) == (5_000_000, 0.36)
    assert trace.findings == ()
    assert budget({"steps": 2}).judge(trace) is None
    assert Trace.from_json(trace.to_json()) == trace


def test_a_run_that_only_embeds_has_no_steps_and_nothing_odd_about_it():
    trace = read(embedded())

    assert (trace.steps, trace.turns, trace.messages, trace.response, trace.findings) == ((), (), (), "", ())
    assert trace.captured


def test_embeddings_that_fail_are_a_finding():
    failed = exchange(f"{OPENAI}/embeddings", {"model": "m"}, {"error": {"message": "slow down"}}, status=429)

    assert [finding.message for finding in read(failed).findings] == ["m failed: 429 slow down"]


def test_a_trace_is_drawn_with_what_was_embedded_between_its_steps():
    lines = list(trace_lines(read(embedded(1), chatted(2, {"content": "Home."}))))

    assert lines[1:] == [
        "  embeddings  text-embedding-3-small · 1,000,000 in, 0 out",
        "  step 0  gpt-4o-mini · 1,000,000 in, 0 out",
        "    'Home.'",
    ]


# --- rankings --------------------------------------------------------------------------------------------------------

RESULTS = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]


@pytest.mark.parametrize(
    ("url", "answer", "provider", "usage"),
    [
        pytest.param(
            "https://api.cohere.com/v2/rerank",
            {"id": "r1", "results": RESULTS, "meta": {"billed_units": {"search_units": 1}}},
            "cohere", None, id="cohere",
        ),
        pytest.param(
            "https://api.jina.ai/v1/rerank",
            {"results": [{**each, "document": {"text": "a"}} for each in RESULTS], "usage": {"total_tokens": 8}},
            "api.jina.ai", Usage(8), id="jina",
        ),
        pytest.param(
            "https://api.voyageai.com/v1/rerank",
            {"data": RESULTS, "usage": {"total_tokens": 9}},
            "api.voyageai.com", Usage(9), id="voyage",
        ),
    ],
)  # fmt: skip
def test_a_ranking_says_what_came_first(url, answer, provider, usage):
    asked = {"model": "rank-1", "query": "Where?", "documents": ["a", {"text": "b"}]}

    trace = read(exchange(url, asked, answer))

    (call,) = trace.model_calls
    assert (call.operation, call.provider, call.model, call.usage) == ("rerank", provider, "rank-1", usage)
    assert call.response.json() == RESULTS
    assert call.messages == (Message("user", "Where?"), Message("document", "a"), Message("document", "b"))
    assert (trace.response, trace.findings) == ("", ())
    assert trace.usage == (usage or Usage())  # Who charges by the search owes no tokens.


def test_a_path_of_that_name_without_query_and_documents_is_something_else():
    trace = read(exchange("https://example.org/rerank", {"ids": [1]}, {}))

    assert [finding.kind for finding in trace.findings] == ["unknown_endpoint"]


# --- services --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "https://api.anthropic.com/v1/files"),
        ("DELETE", "https://api.openai.com/v1/files/file-1"),
        ("GET", "https://api.openai.com/v1/files/file-1/content"),
        ("POST", "https://api.openai.com/v1/vector_stores/vs_1/files"),
        ("POST", "https://api.openai.com/v1/conversations"),
        ("DELETE", "https://api.openai.com/v1/responses/resp_1"),
        ("GET", "https://api.openai.com/v1/models"),
        ("POST", "https://api.anthropic.com/v1/messages/count_tokens"),
        ("POST", f"{GOOGLE}:countTokens"),
        ("POST", "https://generativelanguage.googleapis.com/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore"),
        ("GET", f"{OLLAMA}/api/tags"),
    ],
)
def test_what_providers_offer_beside_models_is_an_exchange_and_nothing_odd(method, url):
    trace = read(exchange(url, {}, {}, method=method))

    assert (trace.model_calls, trace.findings, trace.exchanges) == ((), (), 1)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/v1/files",  # Anyone may have files.
        "https://api.openai.com/v1/batches",  # What a batch answers is not read.
        "https://api.openai.com/v1/images/generations",
        "https://api.mistral.ai/v1/conversations",  # A model answers there, in a format that is not read.
    ],
)
def test_what_is_not_known_stays_a_finding(url):
    assert [finding.kind for finding in read(exchange(url, {}, {})).findings] == ["unknown_endpoint"]


# --- Ollama ----------------------------------------------------------------------------------------------------------

OLLAMA_CALL = {"function": {"name": "look", "arguments": {"order": 42}}}


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in values)


def test_a_chat_of_ollama_is_read_whole_and_line_by_line_alike():
    asked = {"model": "qwen3", "messages": [{"role": "user", "content": "Where?"}], "tools": [{"type": "function"}]}
    done = {"model": "qwen3", "done": True, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 4}
    whole = exchange(
        f"{OLLAMA}/api/chat",
        asked,
        {**done, "message": {"role": "assistant", "content": "Let me see.", "tool_calls": [OLLAMA_CALL]}},
    )
    pieces = [
        {"message": {"content": "", "thinking": "Hm."}, "done": False},
        {"message": {"content": "Let me "}, "done": False},
        {"message": {"content": "see."}, "done": False},
        {"message": {"content": "", "tool_calls": [OLLAMA_CALL]}, "done": False},
        {**done, "message": {"content": ""}},
    ]
    streamed = exchange(f"{OLLAMA}/api/chat", asked, lines(*pieces), headers=LINES)

    (call,) = read(whole).model_calls
    assert read(streamed).model_calls == (call,)
    assert (call.response, call.finish_reason, call.usage) == ("Let me see.", "tool_calls", Usage(10, 4))
    assert call.tool_calls == (ToolCall("look", {"order": 42}, id="look#1"),)


def test_results_for_ollama_belong_to_the_calls_of_their_tool_in_order():
    question = {"role": "user", "content": "Where?"}
    calls = {"role": "assistant", "content": "", "tool_calls": [OLLAMA_CALL, OLLAMA_CALL]}
    results = [{"role": "tool", "tool_name": "look", "content": text} for text in ("first", "second")]
    trace = read(
        exchange(f"{OLLAMA}/api/chat", {"model": "m", "messages": [question]}, {"message": calls, "done": True}),
        exchange(
            f"{OLLAMA}/api/chat",
            {"model": "m", "messages": [question, calls, *results]},
            {"message": {"content": "Home."}, "done": True},
            number=2,
        ),
    )

    assert [call.result for call in trace.tool_calls] == ["first", "second"]
    assert trace.response == "Home."


def test_a_generation_of_ollama_is_a_question_and_its_answer():
    asked = {"model": "m", "system": "Be brief.", "prompt": "Where?"}
    answer = lines({"response": "Ho"}, {"response": "me."}, {"done": True, "done_reason": "length", "eval_count": 2})

    (call,) = read(exchange(f"{OLLAMA}/api/generate", asked, answer, headers=LINES)).model_calls

    assert call.messages == (Message("system", "Be brief."), Message("user", "Where?"))
    assert (call.response, call.finish_reason, call.usage) == ("Home.", "length", Usage(0, 2))


@pytest.mark.parametrize(
    ("answer", "reason", "error"),
    [
        (lines({"message": {"content": "Ho"}, "done": False}), None, "None"),
        (lines({"message": {"content": "Ho"}}, {"error": "out of memory"}), None, "out of memory"),
        (b'{"message": {"con', None, "None"),
    ],
    ids=["cut", "failed", "cut in a line"],
)
def test_lines_of_ollama_that_broke_off_or_failed_say_so(answer, reason, error):
    asked = {"model": "m", "messages": []}

    (call,) = read(exchange(f"{OLLAMA}/api/chat", asked, answer, headers=LINES)).model_calls

    assert (call.finish_reason, str(call.error)) == (reason, error)
