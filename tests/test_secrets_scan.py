"""What secrets look like, how they can be spelled, the pieces they come in, and the last look at a file."""

from __future__ import annotations

import base64
import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops.credentials import is_secret, is_secret_variable, is_worth_knowing
from pytest_agentops.errors import SettingsError
from pytest_agentops.exchange import Exchange, Failure, Request, Response
from pytest_agentops.redaction import Hit, Redactor, Rules, scan

URL = "https://api.test/v1"
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream"),)
HARD = 'p@ss"wörd\\with/every+thing=&<é> 1\n2日本'
ENVIRONMENT: Mapping[str, str] = {"HARD_SECRET": HARD, "PLAIN_TOKEN": "kq7-Lw2.Zr9_Xt4~Bv8"}


def redactor(**rules: tuple[str, ...]) -> Redactor:
    return Redactor(Rules(**rules), environment={})


def body(content: bytes | str, *headers: tuple[str, str], by: Redactor | None = None) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return (by or redactor()).request(Request("POST", URL, headers, content)).body


def answer(content: bytes, *headers: tuple[str, str], by: Redactor | None = None) -> bytes:
    return (by or redactor()).response(Response(200, "OK", headers or JSON, content)).body


# --- by their look ---------------------------------------------------------------------------------------------------

A, D = "aB3dE5gH7jK9mN2pQ4sT6vW8", "0123456789"
KEYS = {
    "an OpenAI key": f"sk-proj-{A}{A}-_x",
    "an Anthropic key": f"sk-ant-api03-{A}_{A}-AA",
    "an OpenRouter key": f"sk-or-v1-{A}{A}",
    "a Langfuse key": "pk-lf-12345678-90ab-cdef-1234-567890abcdef",
    "an API key": "sk-0123456789abcdef0123456789abcdef",
    "a Google key": f"AIza{A}{A[:11]}",
    "a Groq key": f"gsk_{A}{A}",
    "a GitHub token": f"github_pat_{A}_{A}",
    "a GitLab token": f"glpat-{A}",
    "a Slack token": f"xoxp-{D}-{D}-{A}",
    "an AWS key id": "ASIAIOSFODNN7EXAMPLE",
    "an Amazon Bedrock key": f"ABSK{A * 4}==",
    "a Hugging Face token": f"hf_{A}{A[:10]}",
    "a Stripe key": f"rk_live_{A}",
    "an npm token": f"npm_{A}{A[:12]}",
    "a PyPI token": f"pypi-AgEIcHlwaS5vcmc{A * 3}",
    "a SendGrid key": f"SG.{A[:22]}.{A}{A[:19]}",
    "a Replicate token": f"r8_{A}{A[:13]}",
    "a Perplexity key": f"pplx-{A}{A}",
    "an xAI key": f"xai-{A * 3}",
    "a Tavily key": f"tvly-dev-{A}",
    "a LangSmith key": "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789",
    "a JSON web token": f"eyJhbGciOiJIUzI1NiJ9.eyJ{A}.{A}_-",
    "a private key": f"-----BEGIN RSA PRIVATE KEY-----\n{A * 3}\n{A * 3}+/==\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("around", ["{}", "key: {}.", "\t{}\n", "({})", "a/{}/b", "é{}é", "x={}&y", '"{}"', "\\n{}"])
def test_each_kind_of_key_is_seen_in_text_in_json_and_in_a_file(kind: str, around: str) -> None:
    secret = KEYS[kind]
    text = around.format(secret)
    if secret[:4] in ("AIza", "ASIA", "ABSK") and around in ("a/{}/b", "x={}&y"):
        pytest.skip("it might be a piece of base64, but for its place")

    for written in (text, json.dumps(text), json.dumps(json.dumps(text)), json.dumps(text, ensure_ascii=False)):
        kept = body(written).decode()
        assert A[:12] not in kept
        assert "REDACTED-1" in kept
        assert body(kept) == kept.encode()
        if written != text:
            json.loads(kept)
    for style in (None, "|", '"', "'"):
        file = yaml.dump({"body": [text]}, default_style=style, width=40, allow_unicode=True).encode()
        assert kind in {hit.kind for hit in scan(file, environment={})}, file


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgres://joe:s3cret@db:5432/x", "postgres://joe:REDACTED-1@db:5432/x"),
        ("see https://user:${PASSWORD}@host/", "see https://user:${PASSWORD}@host/"),
        ("-H 'Authorization: Bearer abcdef0123456789'", "-H 'Authorization: Bearer REDACTED-1'"),
        ("authorization: bearer YOUR_API_KEY_GOES_HERE", "authorization: bearer YOUR_API_KEY_GOES_HERE"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic REDACTED-1"),
        ("Basic Introduction2Programming", "Basic Introduction2Programming"),
        ("at https://x.test/?a=1&api_key=abc1&b=2", "at https://x.test/?a=1&api_key=REDACTED-1&b=2"),
        ("page https://x.test/?token=abc", "page https://x.test/?token=abc"),
        ("https://x.blob.core.windows.net/c?sv=1&sig=a%2Bb0123456789abcdef%3D", "https://x.blob.core.windows.net/c?sv=1&sig=REDACTED-1"),
        ("AccountName=joe;AccountKey=aB3dE5gH7jK9==;X=y", "AccountName=joe;AccountKey=REDACTED-1;X=y"),
        ("DB_PASSWORD=hunter2hunter2\nDEBUG=1", "DB_PASSWORD=REDACTED-1\nDEBUG=1"),
        ("export DB_PASSWORD='hunter twice'", "export DB_PASSWORD='hunter twice'"),
        ("MAX_TOKENS=100000000 TOKENIZER=o200k_base", "MAX_TOKENS=100000000 TOKENIZER=o200k_base"),
        ("client = OpenAI(api_key=settings.api_key_2)", "client = OpenAI(api_key=settings.api_key_2)"),
        ("client = OpenAI(api_key='abc123def456')", "client = OpenAI(api_key='REDACTED-1')"),
        ("{'password': 'hunter2', 'user': 'joe'}", "{'password': 'REDACTED-1', 'user': 'joe'}"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = REDACTED-1"),
        ("https://news.test/sk-hynix-reports-record-2026-profits", "https://news.test/sk-hynix-reports-record-2026-profits"),
        ("sk-learn-based-classification-pipeline-v2", "sk-learn-based-classification-pipeline-v2"),
    ],
)  # fmt: skip
def test_what_is_said_about_secrets_in_text(text: str, kept: str) -> None:
    assert redactor().text(text) == kept
    assert redactor().text(kept) == kept
    assert json.loads(body(json.dumps(text))) == kept


# --- by their name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    "password newPassword user_password DB_PASSWORD api_key X-API-Key openai_api_key accessToken refresh_token client_secret "
    "signing-secret privateKey aws_secret_access_key GITHUB_TOKEN Authorization minioSecretKey hasura_admin_secret".split(),
)  # fmt: skip
def test_names_that_hold_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    "max_tokens total_tokens tokens prompt_cache_key key signature thoughtSignature next_page_token progressToken eos_token "
    "EOS_TOKEN PUBLIC_KEY show_password is_secret idempotency_key tokenizer primary_key".split(),
)  # fmt: skip
def test_names_that_hold_none(name: str) -> None:
    assert not is_secret(name)


def test_variables_that_hold_secrets_and_others() -> None:
    secret = "OPENAI_API_KEY OPENAIKEY GITHUB_TOKEN DB_PASSWORD PGPASSWORD SENTRY_DSN NPM_CONFIG__AUTHTOKEN AWS_SESSION_TOKEN"
    harmless = (
        "SSH_AUTH_SOCK KEYBOARD PUBLIC_KEY_PATH PWD OLDPWD HOME TOKENIZERS_PARALLELISM MAX_TOKENS KEY_MODEL TOKEN_URL"
    )
    assert [name for name in secret.split() if not is_secret_variable(name)] == ["OPENAIKEY"]
    assert [name for name in harmless.split() if is_secret_variable(name)] == []
    values = (
        "true 123456789012 /home/joe/.keys/id_rsa authentication https://login.test/token ${SECRET} 2026-11-24 short"
    )
    assert [value for value in values.split() if is_worth_knowing(value)] == []


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("secret", ["s3cret", 'quo"te', "back\\slash", "\\", '"', "ünï\n", "a/b", "x" * 3000])
def test_a_field_is_found_however_deep_json_is_carried_in_json(depth: int, secret: str) -> None:
    value: object = {"user": "joe", "password": secret, "n": [1, {"x": '"'}]}
    expected: Any = {"user": "joe", "password": "REDACTED-1", "n": [1, {"x": '"'}]}
    for _ in range(depth):
        value, expected = {"a": json.dumps(value), "b": "c"}, {"a": json.dumps(expected), "b": "c"}
    assert json.loads(body(json.dumps(value))) == expected


def test_what_a_secret_variable_holds_is_one_wherever_it_stands_and_a_word_is_none() -> None:
    by = Redactor(environment={"A_TOKEN": "gpt-5-mini", "B_TOKEN": "authentication", "C_TOKEN": "zq81-kk20-pl73"})
    text = "gpt-5-mini has authentication with zq81-kk20-pl73"
    assert by.text(text) == "gpt-5-mini has authentication with REDACTED-1"


def test_the_password_in_the_address_of_a_database_is_one() -> None:
    by = Redactor(environment={"DATABASE_URL": "postgres://joe:Zx81Zx81Zx81@db/x"})
    assert by.text("I log in with Zx81Zx81Zx81.") == "I log in with REDACTED-1."


# --- spellings -------------------------------------------------------------------------------------------------------


def nested(text: str, depth: int, **style: bool) -> str:
    for _ in range(depth):
        text = json.dumps(text, **style)  # type: ignore[arg-type]
    return text


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda text: quote(text, safe=""),
    "percent in lower case": lambda text: quote(text, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    **{
        f"json {depth} {ascii_only}": lambda text, d=depth, a=ascii_only: nested(text, d, ensure_ascii=a)  # type: ignore[misc]
        for depth in range(1, 5)
        for ascii_only in (True, False)
    },
    "json of Go": lambda text: json.dumps(text).replace("&", "\\u0026").replace("<", "\\u003c").replace("/", "\\/"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("secret", ENVIRONMENT.values(), ids=ENVIRONMENT)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_secret_has_one_number_however_it_is_spelled(spelling: str, secret: str) -> None:
    by = Redactor(environment=ENVIRONMENT)
    written = SPELLINGS[spelling](secret)
    kept = by.text(f"<{written}> and <{secret}>")
    assert kept.replace('"', "").replace("\\", "") == "<REDACTED-1> and <REDACTED-1>"


@pytest.mark.parametrize("secret", ENVIRONMENT.values(), ids=ENVIRONMENT)
@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_base64_of_more_than_the_secret_is_seen(secret: str, before: str, after: str) -> None:
    by = Redactor(environment=ENVIRONMENT)
    kept = by.text(f"data:;base64,{base64.b64encode((before + secret + after).encode()).decode()}")
    left = kept.partition(",")[2].split("REDACTED-1")
    assert len(left) == 2
    assert sum(map(len, left)) <= (len(before) + len(after)) * 2 + 6


def test_the_digits_behind_a_secret_are_no_part_of_a_number() -> None:
    by = Redactor(environment=ENVIRONMENT)
    token = ENVIRONMENT["PLAIN_TOKEN"]
    assert by.text(f"{token} {token}2 {token}") == "REDACTED-1 REDACTED-2 REDACTED-1"


def test_an_escape_before_a_secret_stays_one() -> None:
    by = Redactor(environment={"A_TOKEN": "nkq7Lw2Zr9Xt4", "B_TOKEN": "kq7Lw2Zr9Xt4Q"})
    assert json.loads(body('{"a": "\\nkq7Lw2Zr9Xt4Q"}', by=by)) == {"a": "\nREDACTED-1"}


def test_keys_escaped_letter_by_letter_are_seen() -> None:
    key = KEYS["an OpenAI key"]
    written = '{"a": "' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '", "b": 1.0}'
    assert json.loads(body(written)) == {"a": "REDACTED-1", "b": 1.0}


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_are_given_in_the_order_of_sight_from_the_first() -> None:
    by = Redactor(environment=ENVIRONMENT, first=5)
    assert by.learned == 2
    by.request(Request("GET", URL, (("authorization", "Bearer 0123-4567-89ab-cdef"),)))
    assert by.learned == 3
    content = {"b": ENVIRONMENT["PLAIN_TOKEN"], "password": "x", "c": "0123-4567-89ab-cdef", "token": "x"}
    assert list(json.loads(body(json.dumps(content), by=by)).values()) == [f"REDACTED-{n}" for n in (5, 6, 7, 6)]


def test_no_secret_gets_a_number_that_others_wrote() -> None:
    by = redactor()
    assert by.text("REDACTED-3 is there, REDACTED too") == "REDACTED-3 is there, REDACTED too"
    assert json.loads(body('{"password": "x"}', by=by)) == {"password": "REDACTED-4"}


def test_threads_agree_on_the_numbers() -> None:
    by = redactor()
    seen: list[bytes] = []

    def work() -> None:
        seen.extend(body(json.dumps({"password": f"secret-number-{n:04}"}), by=by) for n in range(200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 800
    assert len(set(seen)) == 200


def test_what_is_learned_later_is_taken_out_of_an_exchange_again() -> None:
    by = redactor()
    secret = "zq81-kk20-pl73"
    exchange = Exchange(
        1,
        by.request(Request("POST", f"{URL}?q={secret}", JSON, body(f'{{"a": "{secret}"}}'))),
        by.response(Response(200, "OK", (("x-request-id", secret),), secret.encode())),
        Failure("E", secret),
    )
    assert by.exchange(exchange) is exchange
    by.request(Request("GET", URL, (("x-api-key", secret),)))
    kept = by.exchange(exchange)
    assert secret not in repr(kept)
    assert by.exchange(kept) is kept


def test_the_inputs_of_a_prompt_lose_their_secrets() -> None:
    by = redactor()
    inputs = {
        "a": "it is zq81-kk20-pl73",
        "login": {"password": "zq81-kk20-pl73", "n": 1},
        "l": [b"zq81-kk20-pl73", None],
    }
    assert by.value(inputs) == {
        "a": "it is REDACTED-1",
        "login": {"password": "REDACTED-1", "n": 1},
        "l": [b"REDACTED-1", None],
    }


def test_forms_and_queries_keep_the_rest_as_it_was_written() -> None:
    form = ("content-type", "application/x-www-form-urlencoded")
    assert body("b=%7e+x&a&password=a%20b&c=&d=~", form) == b"b=%7e+x&a&password=REDACTED-1&c=&d=~"
    key = KEYS["an OpenAI key"]
    assert body(f"note=my+{key}+is&b=1", form) == b"note=my+REDACTED-1+is&b=1"
    assert redactor().request(Request("GET", f"{URL}#access_token=abc&b=1")).url == f"{URL}#access_token=REDACTED-1&b=1"
    assert redactor().request(Request("GET", f"{URL}/{key}/x")).url == f"{URL}/REDACTED-1/x"


# --- in pieces -------------------------------------------------------------------------------------------------------


def chat(text: str, size: int) -> bytes:
    deltas = [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    return lines({"choices": [{"index": index % 2, "delta": delta}]} for delta in deltas for index in (0, 1))


def tool_call(text: str, size: int) -> bytes:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return lines(
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 1, "function": {"arguments": each}}]}}]}
        for each in pieces
    )


def responses(text: str, size: int) -> bytes:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    done = {"type": "response.output_text.done", "item_id": "m", "text": text}
    deltas = [
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": each} for each in pieces
    ]
    return lines([*deltas, done])


def anthropic(text: str, size: int) -> bytes:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return lines(
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": each}}
        for each in pieces
    )


def gemini(text: str, size: int) -> bytes:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return lines({"candidates": [{"content": {"parts": [{"text": each}]}}]} for each in pieces)


def lines(events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\r\n\r\n" for event in events)


def told(stream: bytes) -> list[str]:
    """Each text of the stream put together by its place."""
    together: dict[str, str] = {}

    def walk(value: Any, place: str) -> None:
        if isinstance(value, str):
            together[place] = together.get(place, "") + value
        elif isinstance(value, dict | list):
            if isinstance(value, dict):
                place += f"{value.get('type')}{value.get('index')}"
            for key, each in value.items() if isinstance(value, dict) else enumerate(value):
                walk(each, f"{place}/{key}")

    for line in stream.split(b"\r\n\r\n"):
        if line:
            walk(json.loads(line.removeprefix(b"data: ")), "")
    return list(together.values())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 30, 1000])
@pytest.mark.parametrize("provider", [chat, tool_call, responses, anthropic, gemini])
def test_a_secret_that_comes_in_pieces_is_taken_out_whole(provider: Callable[[str, int], bytes], size: int) -> None:
    key, token = KEYS["an OpenAI key"], ENVIRONMENT["PLAIN_TOKEN"]
    by = Redactor(environment=ENVIRONMENT)
    text = json.dumps({"user": "joe", "password": "s3", "note": f"first {key}, then {token}; {key}é", "last": 1})

    kept = answer(provider(text, size), *EVENTS, by=by)

    whole = next(each for each in told(kept) if each.startswith('{"user'))
    said = json.loads(whole)
    assert said["password"] not in ("s3", "")
    first, then = said["note"].split(", then ")
    assert first.removeprefix("first ") == then.split("; ")[1].removesuffix("é")
    assert len({said["password"], first.split()[1], then.split(";")[0]}) == 3
    for secret in (key, token, "s3"):
        assert all(secret not in each for each in told(kept))
        assert secret.encode() not in kept
    assert answer(kept, *EVENTS, by=by) == kept
    assert by.scan(kept) == []


def test_a_stream_without_secrets_keeps_its_bytes_and_only_the_touched_events_are_written_anew() -> None:
    calm = b': hi\n\nevent: x\ndata: {"a" :  "b", "f":1.50}\n\ndata: not json\ndata: at all\n\ndata: [DONE]\n\n\xff\n\n'
    assert answer(calm, *EVENTS) == calm
    key = KEYS["an OpenAI key"]
    kept = answer(
        calm + b'data: {"c" : "%b"}\n\ndata: {"c" : "%b", "d":  2}\n\n' % (key[:9].encode(), key[9:].encode()), *EVENTS
    )
    assert kept == calm + b'data: {"c":"REDACTED-1"}\n\ndata: {"c":"","d":2}\n\n'


def test_plain_text_and_lines_of_json_in_pieces_too() -> None:
    key = KEYS["an OpenAI key"]
    assert answer(f"data: {key[:20]}\n\ndata: {key[20:]}\n\n".encode(), *EVENTS) == b"data: REDACTED-1\n\ndata: \n\n"
    ndjson = f'{{"t": "{key[:20]}"}}\n{{"t": "{key[20:]}"}}\n'.encode()
    assert answer(ndjson, ("content-type", "application/x-ndjson")) == b'{"t": "REDACTED-1"}\n{"t": ""}\n'


# --- rules of a project ----------------------------------------------------------------------------------------------


def failing(text: str) -> list[str]:
    raise RuntimeError("no idea")


def wrong(text: str) -> str:
    return text


def names_of_people(text: str) -> list[str]:
    return [name for name in ("Jürgen", "Ann") if name in text]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"pattern": ["x"]}, "redact has no 'pattern'; did you mean 'patterns'?; there are: patterns, functions, names, environment, personal, allow"),
        ({"patterns": ["(x"]}, "redact: the pattern '(x' is no regular expression: missing ), unterminated subpattern at position 0"),
        ({"patterns": ["x*"]}, "redact: the pattern 'x*' matches the empty text, so it would match everywhere"),
        ({"patterns": "x"}, "patterns of redact must be a list of texts, and is 'x'"),
        ({"functions": ["json"]}, "redact: the function 'json' must be written as package.module:function"),
        ({"functions": ["json:nil"]}, "redact: the function 'json:nil' cannot be imported: AttributeError: module 'json' has no attribute 'nil'"),
        ({"functions": ["json:__name__"]}, "redact: the function 'json:__name__' is str, and cannot be called"),
        ({"personal": ["e-mail"]}, "personal of redact has no 'e-mail'; did you mean 'email'?; there are: email, phone, card"),
        ({"names": ["--"]}, "names of redact: '--' has no letter or digit"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_rules_says_what_is_right(table: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Rules.from_table(table, "redact")
    assert str(raised.value) == message


def test_a_function_that_fails_says_which() -> None:
    with pytest.raises(SettingsError, match=r"test_secrets_scan:failing of .* failed: RuntimeError: no idea"):
        redactor(functions=(f"{__name__}:failing",)).text("x")
    with pytest.raises(SettingsError, match=r"test_secrets_scan:wrong of .* must give a list of texts: 'x'"):
        redactor(functions=(f"{__name__}:wrong",)).text("x")


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_rules_of_a_project_see_text_as_it_was_meant(ascii_only: bool) -> None:
    by = redactor(patterns=(r"Kunde „(?P<secret>[^“]+)“", r'id="\d+"'), functions=(f"{__name__}:names_of_people",))
    said = {
        "n": 1.5,
        "t": 'Kunde „Müller“ mit id="77", sagt Jürgen',
        "in": json.dumps({"x": "Jürgen"}, ensure_ascii=False),
    }
    content = json.dumps(said, ensure_ascii=ascii_only)
    kept = json.loads(body(content, by=by))
    assert kept["t"] == "Kunde „REDACTED-2“ mit REDACTED-3, sagt REDACTED-1" or "Müller" not in kept["t"]
    assert "Jürgen" not in kept["t"] + kept["in"]
    assert "77" not in kept["t"]
    assert kept["n"] == 1.5
    assert json.loads(kept["in"])
    stream = answer(chat('Jürgen sagt id="77"', 2), *EVENTS, by=by)
    assert not any("Jürgen" in text or "77" in text for text in told(stream))


def test_what_is_allowed_stays() -> None:
    key = KEYS["an OpenAI key"]
    by = Redactor(Rules(allow=(key, "hunter2")), environment={"A_TOKEN": key})
    content = json.dumps({"a": key, "password": "hunter2"})
    assert body(content, ("authorization", f"Bearer {key}"), by=by) == content.encode()
    assert by.scan(content.encode()) == []


def test_personal_data_in_json_leaves_json() -> None:
    by = redactor(personal=("email", "phone", "card"))
    said = {
        "t": "\njoe@example.test\n+49 (0)30 1234567\n4111-1111-1111-1111",
        "id": 4111111111111111,
        "x": "550e8400-e29b-41d4",
    }
    assert json.loads(body(json.dumps(said), by=by)) == {**said, "t": "\nREDACTED-1\nREDACTED-2\nREDACTED-3"}
    honest = (
        "1700000000123 2026-11-24 12:30 $1,234.56 v1.2.3 10.0.0.1 call_4111111111111111x 4111111111111112 user@host"
    )
    assert by.text(honest) == honest


# --- what is in a file -----------------------------------------------------------------------------------------------


def test_a_hit_names_its_place_and_hides_the_secret() -> None:
    key = KEYS["an OpenAI key"]
    data = f"version: 1\nbody: é {key} {key}\n\nx: {ENVIRONMENT['PLAIN_TOKEN']}\n".encode()
    assert Redactor(environment=ENVIRONMENT).scan(data) == [
        Hit(2, 9, "an OpenAI key", f"sk-p..., {len(key)} characters"),
        Hit(2, 10 + len(key), "an OpenAI key", f"sk-p..., {len(key)} characters"),
        Hit(4, 4, "the value of PLAIN_TOKEN", "kq7-..., 19 characters"),
    ]


def test_what_a_header_held_is_found_in_the_file() -> None:
    by = redactor()
    by.request(Request("GET", URL, (("authorization", "Bearer zq81-kk20-pl73"),)))
    [hit] = by.scan(b"a: zq81-kk20-pl73")
    assert hit.kind == "what stood in an authorization header"


@pytest.mark.parametrize("secret", ENVIRONMENT.values(), ids=ENVIRONMENT)
@pytest.mark.parametrize("style", [None, "|", ">", '"', "'"])
@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("dumper", [yaml.SafeDumper, getattr(yaml, "CSafeDumper", yaml.SafeDumper)])
def test_what_is_known_is_found_however_yaml_writes_it(secret: str, style: str | None, width: int, dumper: Any) -> None:
    for value in (
        secret,
        f"some words and {secret} and more",
        json.dumps({"a": secret}),
        json.dumps([json.dumps(secret)]),
    ):
        for unicode in (True, False):
            data = yaml.dump([value], Dumper=dumper, default_style=style, width=width, allow_unicode=unicode).encode()
            assert Redactor(environment=ENVIRONMENT).scan(data), data


@pytest.mark.parametrize("before", range(5))
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_in_a_block_of_base64_is_found(before: int, pack: Callable[[bytes], bytes]) -> None:
    noise = random.Random(before).randbytes(200 + before)
    for secret in (*ENVIRONMENT.values(), KEYS["an OpenAI key"]):
        data = yaml.dump({"a": 1, "body": pack(noise + b" " + secret.encode() + b" " + noise)}).encode()
        [hit] = Redactor(environment=ENVIRONMENT).scan(data)
        assert hit.line >= 2


def test_what_was_redacted_is_no_hit_and_a_file_of_others_is_looked_at_by_name() -> None:
    calm = (
        b'"password": "REDACTED-1", Bearer REDACTED-2, u://a:REDACTED@h ?api_key=REDACTED-3 "api_key": "********" key=x'
    )
    assert scan(calm, environment={}) == []
    [field, query] = scan(b'string: \'{"password": "hunter2"}\'\nuri: https://x/?api_key=a1b2c3d4', environment={})
    assert (field.kind, query.kind) == ("the value of the field password", "the value of api_key")
    assert redactor().scan(b'{"password": "hunter2"}') == []


# --- whatever comes --------------------------------------------------------------------------------------------------

texts = (
    st.text(max_size=40)
    | st.text(alphabet='aA1"\\/ \n{}:,=&?@-_.%+', max_size=40)
    | st.sampled_from(list(KEYS.values()))
)
names = st.text(max_size=8) | st.sampled_from(
    ["password", "token", "key", "api_key", "content", "arguments", "index", "type"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names, inner, max_size=4)
        | inner.map(lambda each: json.dumps(each))
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(values, st.booleans())
def test_json_stays_json_and_a_second_time_changes_nothing(value: Any, rules: bool) -> None:
    given_rules = Rules(patterns=(r"\d+",), personal=("email",)) if rules else Rules()
    by = Redactor(given_rules, environment=ENVIRONMENT)
    for content in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()):
        kept = body(content, by=by)
        json.loads(kept)
        assert body(kept, by=by) == kept
        assert body(kept, by=Redactor(given_rules, environment=ENVIRONMENT)) == kept


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_without_a_secret_stay_and_any_bytes_are_taken(blob: bytes) -> None:
    assert answer(blob, ("content-type", "application/octet-stream")) == blob
    for kind in (
        "text/event-stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/x-ndjson",
    ):
        kept = answer(blob, ("content-type", kind))
        assert answer(kept, ("content-type", kind)) == kept


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, max_size=8), st.integers(0, 3))
def test_streams_of_anything_are_taken(pieces: list[str], how: int) -> None:
    make = [
        lambda each: json.dumps({"d": each}),
        lambda each: json.dumps({"type": "a", "index": 0, "d": {"x": [each, {"index": 1, "y": each}]}}),
        lambda each: each,
        lambda each: json.dumps(each, ensure_ascii=False),
    ][how]
    stream = "".join(f"data: {make(each)}\n\n" for each in pieces).encode("utf-8", "replace")
    by = Redactor(environment=ENVIRONMENT)
    kept = answer(stream, *EVENTS, by=by)
    assert answer(kept, *EVENTS, by=by) == kept


secrets = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(secrets, secrets, st.sampled_from(["password", "text", "nested"]))
def test_two_secrets_never_make_one_request_of_two(one: str, other: str, where: str) -> None:
    by = Redactor(environment={"A_TOKEN": one, "B_TOKEN": other})
    make: Callable[[str], object] = {
        "password": lambda each: {"password": each},
        "text": lambda each: {"content": f"it is {each}1, {each}"},
        "nested": lambda each: {"arguments": json.dumps({"client_secret": each, "n": 1})},
    }[where]
    kept = [body(json.dumps(make(each)), by=by) for each in (one, other)]
    assert (kept[0] == kept[1]) == (one == other)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=12, max_size=40), st.sampled_from(list(SPELLINGS)))
def test_any_secret_worth_knowing_is_found_in_any_spelling(secret: str, spelling: str) -> None:
    by = Redactor(environment={"A_TOKEN": secret})
    if by.learned:
        secret = secret.strip()
        assert "REDACTED" in by.text(f"<{SPELLINGS[spelling](secret)}>") or "REDACTED" in secret


# --- and at what price -----------------------------------------------------------------------------------------------

HOSTILE = [
    b"sk-", b"-----BEGIN PRIVATE KEY-----", b"eyJaaaaaaaa.", b'"password":"', b'"password":', b'"token', b"\\", b'\\"', b"key=",
    b"?key=", b'password="', b"password=", b"://a:", b"@", b"a@a.", b"Bearer ", b"data: {\n\n", b'data: {"a":"b"}\n\n',
    b"REDACTED-1", b"'password':'", b'content-disposition: form-data; name="password"\r\n\r\n', b"p@ss", b"\\\n", b"\\u0070",
    b"!!binary |\n  aaaaaaaaaaaaaaaaaaaaaaaa\n", b"+1", b"4-", b"[", b"1 ",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE, ids=repr)
def test_no_body_takes_long(unit: bytes) -> None:
    """Twice as much takes twice as long, not four times; a second for half a megabyte is ten times what it takes."""
    content = (unit * 600_000)[:500_000]
    by = Redactor(Rules(personal=("email", "phone", "card")), environment=ENVIRONMENT)
    for kind in ("application/json", "text/event-stream", "multipart/form-data", "application/x-www-form-urlencoded"):
        began = time.process_time()
        by.request(Request("POST", URL, (("content-type", kind),), content))
        by.response(Response(200, "OK", (("content-type", kind),), content))
        assert time.process_time() - began < 4
    began = time.process_time()
    scan(content, environment=ENVIRONMENT)
    assert time.process_time() - began < 4


def test_twenty_megabytes_are_looked_through_at_once() -> None:
    blob = random.Random(3).randbytes(20_000_000)
    by = Redactor(environment=ENVIRONMENT)
    began = time.process_time()
    assert answer(blob, ("content-type", "application/octet-stream"), by=by) == blob
    assert time.process_time() - began < 4


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, lambda raw: raw.hex().encode()])
@pytest.mark.parametrize("width", [64, 76])
def test_noise_folded_into_lines_is_left_alone(encode: Callable[[bytes], bytes], width: int) -> None:
    noise = encode(random.Random(width).randbytes(2_000_000))
    folded = b"\n".join(noise[at : at + width] for at in range(0, len(noise), width))
    for content in (folded, folded.replace(b"\n", b"\\n")):
        assert answer(content) == content
        assert scan(content, environment={}) == []


def test_a_redactor_is_made_for_each_test_and_costs_little() -> None:
    environment = {f"SOME_VARIABLE_{n}": "value" for n in range(60)} | dict(ENVIRONMENT)
    Redactor(environment=environment)
    began = time.perf_counter()
    for _ in range(100):
        Redactor(environment=environment)
    assert (time.perf_counter() - began) / 100 < 0.001
