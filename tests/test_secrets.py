"""Forty secrets in every place of both directions, what is no secret, and what redaction may never do."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_agentops.cassette import Equipment, Session
from pytest_agentops.errors import SecretFound, SettingsError
from pytest_agentops.exchange import Exchange, Failure, Request, Response, parse_json
from pytest_agentops.journal import Journal
from pytest_agentops.matching import request_key
from pytest_agentops.redaction import Redactor, Rules, scan
from pytest_agentops.tape import Tape, dumps, load, loads, save
from pytest_agentops.testing import Says, ScriptedModel

Start = Callable[..., ScriptedModel]

CORPUS = Path(os.environ.get("AGENTOPS_CORPUS") or Path(__file__).resolve().parent.parent.parent / "shared" / "corpus")
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream"),)
URL = "https://api.test/v1/chat/completions"

_letters = random.Random(7)


def some(prefix: str = "", length: int = 32, alphabet: str = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNP23456789") -> str:
    """A secret that stands nowhere else."""
    return prefix + "".join(_letters.choice(alphabet) for _ in range(length))


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def deltas(secret: str, size: int) -> bytes:
    """A stream that spells a secret piece by piece."""
    text = f"It is {secret}, keep it."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return b"".join(
        b"data: " + body({"choices": [{"index": 0, "delta": {"content": piece}}]}) + b"\n\n" for piece in pieces
    )


def asked(url: str = URL, headers: tuple[tuple[str, str], ...] = JSON, content: bytes = b"{}") -> Exchange:
    return Exchange(1, Request("POST", url, headers, content), Response(200, "OK", JSON, b"{}"))


def answered(content: bytes, headers: tuple[tuple[str, str], ...] = JSON) -> Exchange:
    return Exchange(1, Request("POST", URL, JSON, b"{}"), Response(200, "OK", headers, content))


FORM = (("content-type", "application/x-www-form-urlencoded"),)
MULTIPART = (("content-type", "multipart/form-data; boundary=xx"),)
PEM = some("", 120)
ENVIRONMENT = {
    "ACME_API_KEY": some(),
    "DB_PASSWORD": some(),
    "DATABASE_DSN": f"postgres://u:{some()}@db/x",
    "TOKEN": some(),
}

PLANTED: list[tuple[str, Callable[[str], Exchange]]] = [
    # What was asked.
    (some("sk-proj-"), lambda s: asked(headers=(("authorization", f"Bearer {s}"),), content=body({"seen": s}))),
    (some(), lambda s: asked(headers=(("x-api-key", s),), content=body([f"key {s}"]))),
    (some(), lambda s: asked(headers=(("api-key", s),))),
    (some(), lambda s: asked(headers=(("x-goog-api-key", s),))),
    (some("org-"), lambda s: asked(headers=(("openai-organization", s),))),
    (some("proj_"), lambda s: asked(headers=(("openai-project", s),))),
    (some(), lambda s: asked(headers=(("cookie", f"a=b; session={s}"),), content=body({"cookie": s}))),
    (some(), lambda s: asked(headers=(("x-never-heard-of", s),))),
    (some(), lambda s: asked(url=f"https://user:{s}@api.test/v1")),
    (some(), lambda s: asked(url=f"{URL}?api_key={s}&v=1")),
    (some(), lambda s: asked(url=f"{URL}?key={s}", content=body({"again": s}))),
    (some(), lambda s: asked(url=f"{URL}?X-Amz-Signature={s}")),
    (some("AIza", 35), lambda s: asked(url=f"{URL}/{s}/x")),
    (some(), lambda s: asked(content=body({"password": s}))),
    (some(), lambda s: asked(content=body({"deep": [{"client-secret": s}]}))),
    (some(), lambda s: asked(content=body({"arguments": json.dumps({"api_key": s})}))),
    (some(), lambda s: asked(content=body({"a": json.dumps({"b": json.dumps({"access_token": s})})}))),
    (some("sk-ant-api03-"), lambda s: asked(content=body({"messages": [{"content": f"my key is {s}."}]}))),
    (some("ghp_", 36), lambda s: asked(content=body({"content": f"export GH={s}\nnext"}))),
    (some("xoxb-"), lambda s: asked(content=f"plain text {s} goes on".encode())),
    (some(), lambda s: asked(headers=FORM, content=f"client_secret={s}&scope=a".encode())),
    (some(), lambda s: asked(headers=MULTIPART, content=(
        f'--xx\r\nContent-Disposition: form-data; name="password"\r\n\r\n{s}\r\n--xx--\r\n').encode())),
    (some("hf_", 34), lambda s: asked(content=b"\x00\xff" + s.encode() + b"\x00\xff")),
    (some("AKIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), lambda s: asked(content=body({"id": s}))),
    (PEM, lambda s: asked(content=body({"key": f"-----BEGIN PRIVATE KEY-----\n{s}\n-----END PRIVATE KEY-----"}))),
    (ENVIRONMENT["ACME_API_KEY"], lambda s: asked(content=body({"text": f"it is {s}"}))),
    (ENVIRONMENT["DB_PASSWORD"], lambda s: asked(content=body({"text": quote(s, safe="")}))),
    (ENVIRONMENT["TOKEN"], lambda s: asked(content=body({"text": base64.b64encode(s.encode()).decode()}))),
    # What came back.
    (some("sk-proj-"), lambda s: answered(body({"choices": [{"message": {"content": f"You said {s}."}}]}))),
    (some(), lambda s: answered(body({"token_type": "x", "access_token": s}))),
    (some(), lambda s: answered(body({"tool": json.dumps({"password": s})}))),
    (some(), lambda s: answered(b"{}", headers=(("set-cookie", f"sid={s}; Path=/"), *JSON))),
    (some("org-"), lambda s: answered(b"{}", headers=(("openai-organization", s), *JSON))),
    (some(), lambda s: answered(b"{}", headers=(("location", f"https://files.test/x?sig={s}&v=1"), *JSON))),
    (some("sk-proj-"), lambda s: answered(deltas(s, 3), EVENTS)),
    (some("gsk_", 52), lambda s: answered(deltas(s, 1), EVENTS)),
    (ENVIRONMENT["DATABASE_DSN"].split(":")[2].partition("@")[0], lambda s: answered(deltas(s, 5), EVENTS)),
    (some("glpat-", 20), lambda s: answered(b"data: " + body({"delta": s}) + b"\n\n", EVENTS)),
    (some("sk_live_", 24), lambda s: answered(f"<html>{s}</html>".encode(), (("content-type", "text/html"),))),
    ("eyJ" + some() + ".eyJ" + some() + "." + some(), lambda s: answered(body({"said": s}))),
    (some("sk-proj-"), lambda s: Exchange(1, Request("POST", URL), None, Failure("ConnectError", f"bad key {s}"))),
]  # fmt: skip


def everything(exchange: Exchange) -> bytes:
    return dumps(Tape((exchange,), "passed")).encode()


def spelled(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield base64.b64encode(secret.encode())[:-4]


@pytest.mark.parametrize(("secret", "plant"), PLANTED, ids=range(len(PLANTED)))
def test_no_planted_secret_is_kept(secret: str, plant: Callable[[str], Exchange]) -> None:
    redactor = Redactor(environment=ENVIRONMENT)
    exchange = plant(secret)
    assert len(PLANTED) >= 40

    kept = redactor.exchange(exchange)

    written = everything(kept)
    assert [form for form in spelled(secret) if form in written] == []
    joined = "".join(
        event["choices"][0]["delta"]["content"]
        for line in (kept.response.body if kept.response else b"").split(b"\n")
        if (event := parse_json(line.removeprefix(b"data: "))) and isinstance(event, dict) and "choices" in event
        and "delta" in event["choices"][0]
    )  # fmt: skip
    assert secret not in joined
    assert redactor.scan(written) == []
    assert redactor.exchange(kept) == kept, "a second time changes nothing"


def test_the_tokens_that_were_counted_and_the_pieces_of_an_answer_survive() -> None:
    answer = {
        "usage": {"total_tokens": 4000, "prompt_tokens": 3000, "completion_tokens_details": {"reasoning_tokens": 7}},
        "choices": [{"logprobs": {"content": [{"token": "Hello", "bytes": [72], "logprob": -0.1}]}}],
        "max_tokens": 100,
        "thinking": {"signature": some("", 300)},
    }
    assert Redactor(environment={}).response(Response(200, "OK", JSON, body(answer))).json == answer


def test_personal_data_is_left_alone_until_asked_for() -> None:
    text = "Write to jane.doe@example.com, call +49 30 1234567 or (555) 123-4567, pay with 4111 1111 1111 1111."
    assert Redactor(environment={}).text(text) == text

    found = Redactor(Rules(personal=("email", "phone", "card")), environment={}).text(text)

    assert found == "Write to REDACTED-1, call REDACTED-2 or REDACTED-3, pay with REDACTED-4."
    honest = "order 4111 1111 1111 1112, id 1234567890123, 2026-11-24T12:00:00, 19.90, 3.14.15.92"
    assert Redactor(Rules(personal=("phone", "card")), environment={}).text(honest) == honest


def find_names(text: str) -> list[str]:
    return [word for word in ("Project-Nightingale",) if word in text]


def test_a_project_adds_patterns_functions_names_and_variables() -> None:
    rules = Rules.from_table(
        {
            "patterns": ["ACME-[0-9]{6}", "pin=(?P<secret>[0-9]{4})"],
            "functions": ["tests.test_secrets:find_names"],
            "names": ["employee_id"],
            "environment": ["PLAIN_*"],
            "allow": ["sk-proj-this-one-is-in-the-documentation"],
        },
        "redact",
    )
    redactor = Redactor(rules, environment={"PLAIN_WORD": "chrysanthemum"})
    text = "ACME-123456 pin=1234 Project-Nightingale chrysanthemum sk-proj-this-one-is-in-the-documentation"

    kept = redactor.text(text)

    for secret in ("ACME-123456", "1234 ", "Nightingale", "chrysanthemum"):
        assert secret not in kept
    assert "pin=REDACTED-" in kept
    assert kept.endswith(" sk-proj-this-one-is-in-the-documentation")
    assert "e-4711" not in redactor.request(Request("POST", URL, JSON, body({"employee_id": "e-4711"}))).body.decode()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "redact must be"),
        ({"pattern": []}, "patterns"),
        ({"patterns": ["("]}, "'('"),
        ({"patterns": "x"}, "patterns"),
        ({"functions": ["nowhere:f"]}, "nowhere"),
        ({"functions": ["json:nothing"]}, "nothing"),
        ({"personal": ["name"]}, "name"),
    ],
)
def test_a_mistake_in_the_rules_is_told(table: object, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Rules.from_table(table, "redact")
    assert message in str(raised.value)


# --- what redaction may never do -------------------------------------------------------------------------------------


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}; name one with AGENTOPS_CORPUS")
def test_cassettes_of_others_give_no_false_alarm() -> None:
    alarms = [
        (path.name, hit) for path in sorted(CORPUS.rglob("*.yaml")) for hit in scan(path.read_bytes(), environment={})
    ]
    assert alarms == []


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, lambda raw: raw.hex().encode()])
def test_ten_megabytes_of_noise_give_no_false_alarm(encode: Callable[[bytes], bytes]) -> None:
    assert scan(encode(random.Random(1).randbytes(7_500_000)), environment={}) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=150)
@given(values, st.binary(max_size=200))
def test_what_holds_no_secret_is_recorded_and_replayed_as_it_was(value: Any, blob: bytes) -> None:
    """From the request and the response, through redaction and the file, to the replay."""
    redactor = Redactor(environment={})
    sent, received = Request("POST", URL, JSON, body(value)), Response(200, "OK", (), blob)
    exchange = Exchange(1, redactor.request(sent), redactor.response(received))
    assume(exchange.request.body == sent.body and exchange.response == received)

    [found] = loads(dumps(Tape((exchange,), "passed"))).exchanges

    assert parse_json(found.request.body) == parse_json(sent.body)
    assert found.response is not None
    assert found.response.body == blob or parse_json(found.response.body) == parse_json(blob) is not None
    assert request_key(found.request) == request_key(redactor.request(sent))


secrets = st.text(alphabet="abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMN23456789", min_size=24, max_size=40)


@settings(max_examples=100)
@given(secrets, secrets)
def test_two_requests_that_differ_in_a_secret_stay_two(left: str, right: str) -> None:
    assume(left != right)
    redactor = Redactor(environment={})
    one, other = (redactor.request(Request("POST", URL, JSON, body({"password": s, "n": 1}))) for s in (left, right))

    assert one != other
    assert redactor.request(Request("POST", URL, JSON, body({"password": left, "n": 1}))) == one


# --- in files --------------------------------------------------------------------------------------------------------


def ask(model: ScriptedModel, key: str, text: str) -> str:
    question = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], "password": key}
    reply = httpx2.post(f"{model.base_url}/chat/completions", json=question)
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


def test_requests_that_differ_only_in_a_secret_get_their_own_answers_whatever_it_is_today(
    tmp_path: Path, scripted_model: Start
) -> None:
    """A replay has other secrets, and may meet them in another order."""
    path, model = (
        tmp_path / "cassette.yaml",
        scripted_model(Says("for the first"), Says("for the second"), Says("again")),
    )
    session = Session(path, mode="once", name="test")
    with session.open():
        ask(model, "first-secret-of-monday", "who am I?")
        ask(model, "second-secret-of-monday", "who am I?")
        ask(model, "second-secret-of-monday", "and now?")
    session.close("passed")

    again = Session(path, mode="none", name="test")
    with again.open():
        assert ask(model, "first-secret-of-tuesday", "who am I?") == "for the first"
        assert ask(model, "second-secret-of-tuesday", "who am I?") == "for the second"
        assert ask(model, "second-secret-of-tuesday", "and now?") == "again"
        again.check()


def test_nothing_below_the_project_holds_a_secret_whatever_is_written(tmp_path: Path, scripted_model: Start) -> None:
    """Cassette, draft and journal."""
    secret = some("sk-proj-", 40)
    model = scripted_model(*[Says(f"You said {secret}.", chunks=[f"You said {secret[:12]}", f"{secret[12:]}."])] * 3)
    journal = Journal(tmp_path / ".agentops")
    for outcome in ("failed", "passed"):
        session = Session(
            tmp_path / "cassette.yaml",
            mode="all",
            name="test",
            draft=tmp_path / ".agentops" / "drafts" / "cassette.yaml",
            equipment=Equipment(root=tmp_path, journal=journal),
        )
        with session.open():
            ask(model, secret, f"my key is {secret}")
            with httpx2.Client() as client:
                client.post(
                    f"{model.base_url}/chat/completions", json={"model": "m", "messages": [], "stream": True}
                ).read()
            written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            assert b'"exchange"' in written
            assert secret.encode() not in written
        session.close(outcome)
        assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        model = scripted_model(Says("fine"), Says("fine"))


def test_a_save_with_a_secret_in_it_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    save(Tape((answered(b'{"old": 1}'),), "passed"), path)
    before = path.read_bytes()
    secret = some("sk-proj-")
    scanner = Redactor(environment={})

    for bad in (
        answered(body({"said": secret})),
        answered(b"\xff\x00" + secret.encode()),
        answered(b"\xff" * 70_000 + secret.encode()),
    ):
        with pytest.raises(SecretFound) as raised:
            save(Tape((bad,), "passed"), path, scan=scanner.scan)
        assert raised.value.hits
        assert secret not in str(raised.value)
        assert path.read_bytes() == before
    assert load(path).exchanges
