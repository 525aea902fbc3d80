"""What must never reach a file, and what must not be damaged on the way there."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from pytest_agentops.cassette import Session
from pytest_agentops.exchange import Request, Response
from pytest_agentops.redaction import Redactor
from pytest_agentops.tape import Outcome, load
from pytest_agentops.testing import Asks, Reply, Says, ScriptedModel, ScriptedRequest, ToolRequest
from pytest_agentops.trace import Trace

Start = Callable[..., ScriptedModel]

REDACTED = "REDACTED-1"
API_KEY = "sk-proj-Zq8vJ2mN5pR7tX1wY4cB6dF9gH3kL0aS"


def kept(text: str, *headers: tuple[str, str]) -> str:
    """What is kept of a request's body."""
    return Redactor().request(Request("POST", "https://api.test/v1", headers, text.encode())).body.decode()


def everything_below(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


# --- no secret reaches a file ----------------------------------------------------------------------------------------

PLANTED = {
    "authorization": "planted-authorization-1",
    "api-key": "planted-azure-key-2",
    "x-api-key": "planted-anthropic-key-3",
    "x-goog-api-key": "planted-google-key-4",
    "cookie": "session=planted-cookie-5",
    "openai-organization": "org-planted-6",
    "openai-project": "proj-planted-7",
    "proxy-authorization": "Basic planted-proxy-8",
    "x-some-private-thing": "planted-header-9",
}
SECRETS = [
    *(value.removeprefix("session=").removeprefix("Basic ") for value in PLANTED.values()),
    "planted-query-10",
    "planted-query-11",
    "planted-field-14",
    "planted-nested-15",
    "planted-set-cookie-16",
    "org-planted-answer-17",
    "sk-proj-planted18planted18planted18",
    "sk-proj-planted19planted19planted19",
]


@pytest.mark.parametrize("outcome", ["passed", "failed"], ids=["cassette", "draft"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_no_planted_secret_is_in_any_file(
    outcome: Outcome, stream: bool, tmp_path: Path, scripted_model: Start
) -> None:
    echoed = "your key is planted-authorization-1, or sk-proj-planted19planted19planted19?"
    model = scripted_model(
        Says(
            echoed,
            chunks=[echoed],
            headers={
                "set-cookie": "session=planted-set-cookie-16",
                "openai-organization": "org-planted-answer-17",
                "x-request-id": "req_for planted-azure-key-2",
            },
        )
    )
    text = "my key is planted-anthropic-key-3\nexport OPENAI_API_KEY=sk-proj-planted18planted18planted18"
    arguments = json.dumps({"password": "planted-nested-15"})
    body = {
        "model": "gpt-5-mini",
        "stream": stream,
        "client_secret": "planted-field-14",
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "log_in", "arguments": arguments}}]},
            {"role": "user", "content": text},
        ],
    }
    path = tmp_path / "cassettes" / "cassette.yaml"
    session = Session(path, mode="once", name="test", draft=tmp_path / ".agentops" / "drafts" / "draft.yaml")
    with session.open(), httpx2.Client(headers=PLANTED) as client:
        reply = client.post(
            f"{model.base_url}/chat/completions?api_key=planted-query-10&key=planted-query-11&version=2", json=body
        )
        assert echoed in reply.text
    session.close(outcome)

    written = everything_below(tmp_path)
    assert [secret for secret in SECRETS if secret in written] == []
    assert [secret for secret in SECRETS if secret in session.recording.freeze().to_json()] == []
    (exchange,) = load(path if outcome == "passed" else session.draft or path).exchanges
    numbered = re.compile(r"REDACTED-\d+")
    assert numbered.sub("REDACTED", exchange.request.url) == (
        f"{model.base_url}/chat/completions?api_key=REDACTED&key=REDACTED&version=2"
    )
    assert len(set(numbered.findall(exchange.request.url))) == 2
    said = exchange.request.json["messages"]
    assert numbered.sub("REDACTED", said[1]["content"]) == "my key is REDACTED\nexport OPENAI_API_KEY=REDACTED"
    assert numbered.fullmatch(json.loads(said[0]["tool_calls"][0]["function"]["arguments"])["password"])


def test_no_user_of_a_url_reaches_a_file(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("hello, planted-password-13"))
    url = model.base_url.replace("http://", "http://planted-user-12:planted-password-13@")
    session = Session(tmp_path / "cassette.yaml", mode="once", name="test")
    with session.open():
        httpx2.post(f"{url}/chat/completions", json={"model": "gpt-5-mini", "messages": []})
    session.close("passed")
    (exchange,) = load(tmp_path / "cassette.yaml").exchanges
    assert exchange.request.url == f"{model.base_url}/chat/completions"
    assert "planted-user-12" not in everything_below(tmp_path)
    assert "planted-password-13" not in everything_below(tmp_path)


def test_no_secret_of_a_form_reaches_a_file(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("unused"))
    form = {"grant_type": "client_credentials", "client_secret": "planted-form-20", "scope": "a b"}
    session = Session(tmp_path / "cassette.yaml", mode="once", name="test")
    with session.open():
        httpx2.post(f"http://127.0.0.1:{model.port}/oauth/token", data=form)
    session.close("passed")
    (exchange,) = load(tmp_path / "cassette.yaml").exchanges
    assert exchange.request.body == b"grant_type=client_credentials&client_secret=REDACTED-1&scope=a+b"


def test_no_secret_of_a_failed_connection_reaches_a_file(tmp_path: Path) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError(f"cannot send {request.headers['authorization']}")

    session = Session(tmp_path / "cassette.yaml", mode="once", name="test")
    with (
        session.open(),
        httpx2.Client(transport=httpx2.MockTransport(refuse), headers={"authorization": f"Bearer {API_KEY}"}) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.get("https://api.test/v1/models")
    session.close("passed")
    assert API_KEY not in everything_below(tmp_path)


def test_a_key_in_a_redirect_does_not_reach_a_file(tmp_path: Path) -> None:
    def redirect(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(307, headers={"location": "https://files.test/x?sig=planted-signature-21&v=1"})

    session = Session(tmp_path / "cassette.yaml", mode="once", name="test")
    with session.open(), httpx2.Client(transport=httpx2.MockTransport(redirect)) as client:
        client.get("https://api.test/v1/file")
    session.close("passed")
    (exchange,) = load(tmp_path / "cassette.yaml").exchanges
    assert exchange.response is not None
    assert dict(exchange.response.headers)["location"] == "https://files.test/x?sig=REDACTED-1&v=1"


def test_the_agent_itself_gets_its_secrets_unharmed(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Asks(ToolRequest("log_in", {"password": "planted-password-22"})))
    session = Session(tmp_path / "cassette.yaml", mode="once", name="test")
    with session.open(), OpenAI(base_url=model.base_url, api_key=API_KEY) as client:
        reply = client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": API_KEY}])
    session.close("passed")
    (tool_call,) = reply.choices[0].message.tool_calls or ()
    assert json.loads(tool_call.function.arguments) == {"password": "planted-password-22"}
    assert model.requests[0].headers["authorization"] == f"Bearer {API_KEY}"
    assert model.requests[0].prompt == API_KEY
    written = everything_below(tmp_path)
    assert API_KEY not in written
    assert "planted-password-22" not in written


# --- keys that are told by their look --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    ["", " ", "'", "(", "key: ", "OPENAI_API_KEY=", "\n", "\t", "\r\n", "Bearer ", "?key=", "é", "日本"],
    ids=repr,
)
@pytest.mark.parametrize(
    "secret",
    [
        API_KEY,
        "sk-ant-api03-" + "aB3_" * 20,
        "sk-" + "a1B2c3D4" * 6,
        "gsk_" + "a1B2c3D4" * 6,
        "AIza" + "a1B2c" * 7,
        "ghp_" + "a1B2c3" * 6,
        "xoxb-123456789012-abcdefABCDEF",
    ],
    ids=lambda secret: secret[:6],
)
def test_a_key_in_honest_text_is_taken_out(before: str, secret: str) -> None:
    body = json.dumps({"messages": [{"content": f"{before}{secret}"}, {"content": f"{before}{secret}, thanks"}]})
    content = [message["content"] for message in json.loads(kept(body))["messages"]]
    assert content == [f"{before}{REDACTED}", f"{before}{REDACTED}, thanks"]


@pytest.mark.parametrize(
    "honest",
    [
        "sk-short",
        "task-management-for-everyone-in-this-company",
        "risk-0123456789-0123456789-0123456789",
        "https://example.test/desk-0123456789012345678901234567890",
        "ghp_short",
        "the Bearer of bad news",
        "disk-" + "a" * 60,
    ],
)
def test_what_only_looks_like_a_key_is_left_alone(honest: str) -> None:
    body = json.dumps({"messages": [{"content": honest}]})
    assert kept(body) == body


def test_base64_is_not_damaged() -> None:
    noise = random.Random(7)
    for _ in range(200):
        blob = base64.b64encode(noise.randbytes(3_000)).decode()
        # Whatever stands in a blob by chance has more of the blob on its left, or is longer than any key.
        middle = blob[:500] + "sk-".replace("-", "/") + blob[500:1000] + "ghp_".replace("_", "+") + blob[1000:]
        body = json.dumps({"image_url": f"data:image/png;base64,{middle}", "data": blob})
        assert kept(body) == body
    url_safe = base64.urlsafe_b64encode(b"\xb2\x4f\xbe" * 400).decode()
    body = json.dumps({"data": f"{url_safe}sk-{url_safe}"})
    assert kept(body) == body


# --- names that hold secrets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "API-KEY", "access_token", "accessToken", "client_secret", "password", "token", "secret"],
)
def test_a_field_with_the_name_of_a_secret_is_taken_out_of_json(name: str) -> None:
    assert json.loads(kept(json.dumps({name: 'pl"anted\\', "other": "stays"}))) == {name: REDACTED, "other": "stays"}
    assert json.loads(kept(json.dumps({name: "planted"}, indent=2))) == {name: REDACTED}
    nested = json.loads(kept(json.dumps({"arguments": json.dumps({name: "planted", "other": "stays"})})))
    assert json.loads(nested["arguments"]) == {name: REDACTED, "other": "stays"}


@pytest.mark.parametrize(
    "body",
    [
        {"usage": {"total_tokens": 12, "prompt_tokens": 10, "completion_tokens": 2}, "max_tokens": 100},
        {"max_completion_tokens": "100", "token_count": "12", "tokens": ["a", "b"], "tokenizer": "o200k"},
        {"key": "a dictionary's key", "auth": "none", "sig": "void f(int)"},
        {"tools": [{"function": {"name": "token", "parameters": {"properties": {"token": {"type": "string"}}}}}]},
        {"content": "the password is a secret, and a token of it"},
        {"password": None, "token": 3, "secret": "", "api_key": []},
        {"logprobs": {"content": [{"token": "Hello", "logprob": -0.1, "bytes": [72], "top_logprobs": []}]}},
        {"logprobs": {"content": [{"token": " there", "bytes": None, "logprob": -0.1}]}},
    ],
    ids=lambda body: next(iter(body)),
)
def test_fields_that_hold_no_secret_are_left_alone(body: dict[str, object]) -> None:
    text = json.dumps(body)
    assert kept(text) == text
    assert kept(json.dumps(body, separators=(",", ":"))) == json.dumps(body, separators=(",", ":"))
    assert Redactor().response(Response(200, body=text.encode())).body == text.encode()


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "Basic ", "Token ", ""])
def test_what_a_credential_header_held_is_taken_out_of_every_later_text(scheme: str) -> None:
    redactor = Redactor()
    redactor.request(Request("GET", "https://api.test/v1", (("authorization", f"{scheme}0123456789abcdef"),)))
    body = b'{"content": "I was given 0123456789abcdef."}'
    assert redactor.response(Response(200, body=body)).body == b'{"content": "I was given REDACTED-1."}'
    assert redactor.text("0123456789abcdef was refused") == "REDACTED-1 was refused"


@pytest.mark.parametrize("key", ["test", "scripted", "dummy", ""])
def test_a_stand_in_for_a_key_is_not_taken_out_of_honest_text(key: str) -> None:
    body = '{"content": "a scripted test with a dummy key"}'
    assert kept(body, ("authorization", f"Bearer {key}")) == body


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.test/v1?key=abc", "https://api.test/v1?key=REDACTED-1"),
        ("https://api.test/v1?a=1&api-key=abc&b=", "https://api.test/v1?a=1&api-key=REDACTED-1&b="),
        ("https://user:pass@api.test:8443/v1", "https://api.test:8443/v1"),
        ("https://api.test/v1?q=a%20b+c&x", "https://api.test/v1?q=a%20b+c&x"),
        (f"https://api.test/v1?k={API_KEY}", "https://api.test/v1?k=REDACTED-1"),
        ("https://bucket.test/x?X-Amz-Signature=abc&X-Amz-Date=1", "https://bucket.test/x?X-Amz-Signature=REDACTED-1&X-Amz-Date=1"),
    ],
)  # fmt: skip
def test_a_url_loses_its_secrets_and_nothing_else(url: str, expected: str) -> None:
    assert Redactor().request(Request("GET", url)).url == expected


# --- and yet it works ------------------------------------------------------------------------------------------------


def test_a_replay_works_with_another_key_than_was_recorded_and_with_none(
    tmp_path: Path, scripted_model: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt repeats the key, and still the request is found when the key is another."""

    def answer(request: ScriptedRequest) -> Reply:
        return Says("Never show your key.")

    model = scripted_model(answer)
    path = tmp_path / "cassette.yaml"
    for mode, key in (("once", API_KEY), ("none", "sk-proj-another-key-of-somebody-else"), ("none", None)):
        if key is None:
            monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        else:
            monkeypatch.setenv("OPENAI_API_KEY", key)
        session = Session(path, mode=mode, name="test")
        with session.open(), OpenAI(base_url=model.base_url) as client:
            messages = [{"role": "user", "content": f"My key is {client.api_key}."}]
            client.chat.completions.create(model="gpt-5-mini", messages=messages)
        session.close("passed")
        session.check()
    assert len(model.requests) == 1
    assert Trace.from_cassette(path).messages[0].content == "My key is REDACTED-1."
